// Whether this process can make control groups with the limits that a machine gets. Found out by making one and removing it.

import { posix } from 'node:path';
import type { Finding } from './host-report.ts';
import type { HostAccess } from './host-access.ts';

const wanted = ['memory', 'pids', 'cpu'] as const;
type Controller = (typeof wanted)[number];

export interface CgroupMount {
  readonly version: 1 | 2;
  readonly path: string;
  /** The controllers of a version 1 hierarchy; version 2 has them in files. */
  readonly controllers: readonly string[];
}

/** The cgroup hierarchies among the lines of `/proc/self/mountinfo` (proc(5)). */
export function parseCgroupMounts(mountinfo: string): readonly CgroupMount[] {
  return mountinfo.split('\n').flatMap((line): CgroupMount[] => {
    const [before = '', after = ''] = line.split(' - ');
    const path = (before.split(' ')[4] ?? '').replaceAll(String.raw`\040`, ' ');
    const [type, , options = ''] = after.split(' ');
    if (type === 'cgroup2') return [{ version: 2, path, controllers: [] }];
    if (type === 'cgroup') return [{ version: 1, path, controllers: options.split(',') }];
    return [];
  });
}

/** This process's own group in each hierarchy, from `/proc/self/cgroup`: by controller, and '' for version 2. */
export function parseOwnCgroups(text: string): ReadonlyMap<string, string> {
  const groups = new Map<string, string>();
  for (const line of text.split('\n')) {
    const match = /^\d+:([^:]*):(.+)$/.exec(line);
    if (match === null) continue;
    for (const controller of (match[1] ?? '').split(',')) groups.set(controller, match[2] ?? '/');
  }
  return groups;
}

/** Makes a child group under each of the places until one works; what it allows, or why none did. */
async function tryChild(
  host: HostAccess,
  parents: readonly string[],
  name: string,
  look: (child: string) => Promise<readonly Controller[]>,
): Promise<{ readonly controllers: readonly Controller[]; readonly where: string; readonly problem: string }> {
  let best = { controllers: [] as readonly Controller[], where: '', problem: 'not tried' };
  for (const parent of new Set(parents)) {
    const child = posix.join(parent, name);
    const code = await host.makeFolder(child);
    if (code !== undefined) {
      if (best.where === '') best = { ...best, problem: `${code} in ${parent}` };
      continue;
    }
    try {
      const controllers = await look(child);
      if (best.where === '' || controllers.length > best.controllers.length) {
        best = { controllers, where: parent, problem: '' };
      }
    } finally {
      await host.removeFolder(child);
    }
    if (best.controllers.length === wanted.length) break;
  }
  return best;
}

async function tryVersion2(host: HostAccess, mount: CgroupMount, own: string, name: string): Promise<Finding> {
  const tried = await tryChild(host, [posix.join(mount.path, own), mount.path], name, async (child) => {
    const files = { memory: 'memory.max', pids: 'pids.max', cpu: 'cpu.max' } as const;
    const present = await Promise.all(wanted.map((key) => host.exists(posix.join(child, files[key]))));
    return wanted.filter((_, index) => present[index]);
  });
  return judge(tried.controllers, `version 2, ${tried.where === '' ? tried.problem : `below ${tried.where}`}`);
}

async function tryVersion1(
  host: HostAccess,
  mounts: readonly CgroupMount[],
  own: ReadonlyMap<string, string>,
  name: string,
): Promise<Finding> {
  const results = await Promise.all(
    wanted.map(async (controller) => {
      const mount = mounts.find(({ controllers }) => controllers.includes(controller));
      if (mount === undefined) return { controller, problem: `${controller} is not mounted` };
      const parents = [posix.join(mount.path, own.get(controller) ?? '/'), mount.path];
      const tried = await tryChild(host, parents, name, async () => [controller]);
      return { controller, problem: tried.controllers.length > 0 ? '' : tried.problem };
    }),
  );
  const problems = results.map(({ problem }) => problem).filter((problem) => problem !== '');
  const usable = results.filter(({ problem }) => problem === '').map(({ controller }) => controller);
  return judge(usable, ['version 1', ...problems].join(', '));
}

function judge(usable: readonly Controller[], how: string): Finding {
  if (usable.length === wanted.length) {
    return { status: 'ok', detail: `A control group with memory, pids and cpu could be made and removed (${how}).` };
  }
  const missing = wanted.filter((controller) => !usable.includes(controller));
  return {
    status: 'warn',
    detail: `No control group with ${missing.join(', ')} could be made (${how}). Machines are held by their own size and by resource limits only.`,
    fix: 'Run as root, or in a delegated group: systemd-run --user --scope --property=Delegate=yes ./bulkhead ...',
  };
}

/** `name` is the child group's, which must not exist yet. `tryRuntime` says whether the runtime itself can use what is there. */
export async function checkCgroups(
  host: HostAccess,
  name: string,
  tryRuntime: () => Promise<boolean> = async () => true,
): Promise<Finding> {
  const [found, usable] = [await tryHost(host, name), await tryRuntime()];
  if (found.status !== 'ok' || usable) return found;
  return {
    status: 'warn',
    detail: `${found.detail} The runtime could not use it all the same; machines are held by their own size and by resource limits only.`,
    fix: 'Run as root.',
  };
}

async function tryHost(host: HostAccess, name: string): Promise<Finding> {
  const [mountinfo = '', ownText = ''] = await Promise.all([
    host.readText('/proc/self/mountinfo'),
    host.readText('/proc/self/cgroup'),
  ]);
  const mounts = parseCgroupMounts(mountinfo);
  const own = parseOwnCgroups(ownText);
  const version1 = mounts.filter(({ version }) => version === 1);
  // A hybrid host mounts version 2 as well, but the controllers are with version 1.
  if (version1.some(({ controllers }) => controllers.includes('memory'))) return tryVersion1(host, version1, own, name);
  const version2 = mounts.find(({ version }) => version === 2);
  if (version2 !== undefined) return tryVersion2(host, version2, own.get('') ?? '/', name);
  return judge([], 'no cgroup file system is mounted');
}
