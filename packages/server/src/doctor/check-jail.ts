import { describeFailure } from './check-programs.ts';
import type { Finding } from './host-report.ts';
import type { HostAccess } from './host-access.ts';

export interface JailUser {
  readonly uid: number;
  readonly gid: number;
}

const apparmorSwitch = '/proc/sys/kernel/apparmor_restrict_unprivileged_userns';
const debianSwitch = '/proc/sys/kernel/unprivileged_userns_clone';
const namespaceCount = '/proc/sys/user/max_user_namespaces';

/** Why the kernel may have refused bubblewrap its namespaces, most likely first; undefined when nothing points to a reason. */
async function explainRefusal(host: HostAccess): Promise<{ reason: string; fix: string } | undefined> {
  const [apparmor, clone, count] = await Promise.all(
    [apparmorSwitch, debianSwitch, namespaceCount].map((path) => host.readText(path)),
  );
  if (count?.trim() === '0') {
    return { reason: 'user namespaces are switched off', fix: 'sudo sysctl user.max_user_namespaces=10000' };
  }
  if (clone?.trim() === '0') {
    return {
      reason: 'user namespaces are reserved for root',
      fix: 'sudo sysctl kernel.unprivileged_userns_clone=1',
    };
  }
  if (apparmor?.trim() === '1') {
    return {
      reason: 'AppArmor refuses user namespaces to programs without a profile that allows them, as Ubuntu 24.04 does',
      fix: String.raw`Give bubblewrap a profile that allows them: printf 'abi <abi/4.0>,\ninclude <tunables/global>\nprofile bwrap /usr/bin/bwrap flags=(unconfined) {\n  userns,\n}\n' | sudo tee /etc/apparmor.d/bwrap && sudo apparmor_parser --replace /etc/apparmor.d/bwrap`,
    };
  }
  return undefined;
}

/** Makes the jail's namespaces for real, as the user that would run a machine, around a program that does nothing. */
export async function checkJail(host: HostAccess, user: JailUser, timeoutMs: number): Promise<Finding> {
  const jailed = ['bwrap', '--unshare-all', '--ro-bind', '/', '/', 'true'] as const;
  const { uid, gid } = user;
  const result =
    host.uid === 0
      ? await host.run(
          ['setpriv', '--reuid', `${uid}`, '--regid', `${gid}`, '--clear-groups', '--', ...jailed],
          timeoutMs,
        )
      : await host.run(jailed, timeoutMs);
  const who = host.uid === 0 ? `user ${uid}, given up from root` : `user ${host.uid}`;
  if (result.exitCode === 0) {
    return { status: 'ok', detail: `bubblewrap made all its namespaces as ${who}.` };
  }
  const version = await host.run(['bwrap', '--version'], timeoutMs);
  if (version.exitCode !== 0) {
    return {
      status: 'fail',
      detail: describeFailure('bwrap', version),
      fix: 'Run script/bootstrap, or: sudo apt-get install --no-install-recommends bubblewrap',
    };
  }
  const explained = await explainRefusal(host);
  return {
    status: 'fail',
    detail: `bubblewrap could not make its namespaces as ${who}: ${explained?.reason ?? describeFailure('bwrap', result)}`,
    fix: explained?.fix ?? 'Run it by hand to see more: bwrap --unshare-all --ro-bind / / true',
  };
}

/** Where a crashing process leaves its memory. */
export async function checkCoreDumps(host: HostAccess): Promise<Finding> {
  const pattern = (await host.readText('/proc/sys/kernel/core_pattern'))?.trim() ?? '';
  if (pattern.startsWith('|')) {
    return {
      status: 'warn',
      detail: `Core dumps go to a program (${pattern.slice(1).split(' ')[0]}), which no resource limit of a machine's process stops: a crash may write parts of its memory to disk.`,
      fix: 'sudo sysctl kernel.core_pattern=core, unless the handler is needed and its store is as protected as guest memory',
    };
  }
  return { status: 'ok', detail: `Core dumps go to files (${pattern}), and resource limits apply.` };
}
