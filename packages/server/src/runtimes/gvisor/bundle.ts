// The OCI bundle of a machine, by the runtime specification (config.md of opencontainers/runtime-spec, 1.0.2): what a container sees,
// may do and runs. Nothing of it comes from a tenant.

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type SizeName, sizes } from '@bulkhead/protocol';

/** What the agent needs to be the container's root: to become the user, to own and end what is the user's, to set the host name. */
const agentCapabilities = [
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_FOWNER',
  'CAP_KILL',
  'CAP_SETGID',
  'CAP_SETUID',
  'CAP_SYS_ADMIN',
  'CAP_SYS_PTRACE',
];

/** Where guest code may write. All of it is the sandbox's memory, each place with a quota. */
function writablePlaces(size: SizeName): readonly (readonly [place: string, mib: number, mode: string])[] {
  const mib = scratchMib(size);
  return [
    ['/home/user', mib / 2, '0755'],
    ['/tmp', mib / 2, '1777'],
    ['/dev/shm', sizes[size].memoryMib / 2, '1777'],
    ['/run', 16, '0755'],
    ['/var/cache/bulkhead', 16, '0755'],
  ];
}

/** What a home and /tmp may hold together. There is no disk: it is memory, so it is less than a virtual machine's. */
export function scratchMib(size: SizeName): number {
  return Math.min(sizes[size].scratchMib, sizes[size].memoryMib);
}

const agent = '/usr/lib/bulkhead/agent/main.py';

/**
 * The agent, between two programs that copy the channel. Of a descriptor of the host a restored sandbox still reads and writes, but it does not tell
 * epoll any more when it is ready (seen in the release of December 2022); a pipe of its own it does.
 */
export function agentCommand(size: SizeName): readonly string[] {
  // The first copies in the background, so that all ends when the agent does.
  const relayed = 'exec 3<&0; { cat <&3 & } | { exec 3<&-; exec "$@"; } | cat';
  const command = ['/usr/bin/python3', '-I', agent, '--container', `${sizes[size].memoryMib}`];
  return ['/usr/bin/tini', '--', '/bin/sh', '-c', relayed, 'relay', ...command];
}

export interface BundleContent {
  readonly rootDir: string;
  readonly command: readonly string[];
  /** Undefined for a container that writes nothing. */
  readonly size?: SizeName;
}

export function bundleConfig({ rootDir, command, size }: BundleContent): Readonly<Record<string, unknown>> {
  const writable = size === undefined ? [] : writablePlaces(size);
  return {
    ociVersion: '1.0.2',
    hostname: 'bulkhead',
    root: { path: rootDir, readonly: false },
    process: {
      terminal: false,
      user: { uid: 0, gid: 0 },
      args: command,
      cwd: '/',
      env: [
        'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
        'HOME=/root',
        'LANG=C.UTF-8',
        'TZ=UTC',
      ],
      capabilities: { bounding: agentCapabilities, effective: agentCapabilities, permitted: agentCapabilities },
      rlimits: [{ type: 'RLIMIT_CORE', hard: 0, soft: 0 }],
      noNewPrivileges: true,
    },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      { destination: '/dev', type: 'dev', source: 'dev' },
      { destination: '/sys', type: 'sysfs', source: 'sysfs' },
      ...writable.map(([destination, mib, mode]) => ({
        destination,
        type: 'tmpfs',
        source: 'tmpfs',
        options: ['nosuid', 'nodev', `size=${mib}m`, `mode=${mode}`],
      })),
    ],
    linux: { namespaces: ['pid', 'network', 'ipc', 'uts', 'mount'].map((type) => ({ type })) },
  };
}

/** Makes the bundle's folder, for its owner alone. */
export async function writeBundle(directory: string, content: BundleContent): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await writeFile(join(directory, 'config.json'), JSON.stringify(bundleConfig(content)), { mode: 0o600 });
}
