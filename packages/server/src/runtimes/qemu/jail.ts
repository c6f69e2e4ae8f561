// The second wall: what surrounds a VMM process. Own user when we are root, a user namespace always, own pid, mount, net, ipc, uts
// and cgroup namespaces, no capabilities, an almost empty read-only file system, resource limits, and QEMU's seccomp filter inside.

import { existsSync, lstatSync, readlinkSync } from 'node:fs';
import { randomInt } from 'node:crypto';
import { descriptors } from './qemu-command.ts';

/** Users of machines when we are root: a range that no distribution hands out. Each machine draws its own. */
const uidRange = { first: 600_000_000, count: 100_000_000 } as const;

export interface JailOptions {
  readonly qemuPath: string;
  readonly root: boolean;
  /** Files to write `0` into before anything else runs, so that every process of the machine is in its groups. */
  readonly cgroupFiles: readonly string[];
  readonly fileSizeMaxBytes: number;
  /** Given when the machine is accelerated; with the group of /dev/kvm, unless anybody may use it. */
  readonly kvm?: { readonly groupId?: number };
}

/** What QEMU needs of the host: its own file, its libraries, its firmware. */
function systemMounts(qemuPath: string): string[] {
  const mounts: string[] = [];
  for (const path of ['/usr/lib/x86_64-linux-gnu', '/usr/lib64', '/usr/share/qemu', '/usr/share/seabios', qemuPath]) {
    if (existsSync(path)) mounts.push('--ro-bind', path, path);
  }
  for (const path of ['/lib', '/lib64']) {
    if (lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink())
      mounts.push('--symlink', readlinkSync(path), path);
    else if (existsSync(path)) mounts.push('--ro-bind', path, path);
  }
  return mounts;
}

/** The command that runs QEMU with `qemuArguments` inside the jail; a single process chain whose first pid is bubblewrap's. */
export function jailCommand(options: JailOptions, qemuArguments: readonly string[]): string[] {
  const command: string[] = [];
  if (options.cgroupFiles.length > 0) {
    const join = 'while [ "$1" != -- ]; do echo 0 > "$1" || exit 97; shift; done; shift; exec "$@"';
    command.push('/bin/sh', '-c', join, 'join-cgroup', ...options.cgroupFiles, '--');
  }
  command.push('prlimit', '--core=0', `--fsize=${options.fileSizeMaxBytes}`, '--nofile=256');
  if (options.root) {
    const uid = uidRange.first + randomInt(uidRange.count);
    command.push('--nproc=512', '--', 'setpriv', `--reuid=${uid}`, `--regid=${uid}`);
    command.push(options.kvm?.groupId === undefined ? '--clear-groups' : `--groups=${options.kvm.groupId}`);
  }
  command.push('--', 'bwrap', '--unshare-all', '--die-with-parent', '--cap-drop', 'ALL', '--as-pid-1', '--new-session');
  command.push('--info-fd', `${descriptors.info}`, '--hostname', 'vmm', '--clearenv');
  // QEMU's heap in huge pages: fewer page faults in a launch.
  command.push('--setenv', 'GLIBC_TUNABLES', 'glibc.malloc.hugetlb=1');
  command.push(...systemMounts(options.qemuPath), '--proc', '/proc');
  if (options.kvm !== undefined) command.push('--dev-bind', '/dev/kvm', '/dev/kvm');
  command.push('--remount-ro', '/', '--chdir', '/', '--', options.qemuPath, ...qemuArguments);
  return command;
}

/** What a jail needs for /dev/kvm. Never the group of root. */
export function kvmAccess(): NonNullable<JailOptions['kvm']> {
  const groupId = lstatSync('/dev/kvm', { throwIfNoEntry: false })?.gid ?? 0;
  return groupId === 0 ? {} : { groupId };
}
