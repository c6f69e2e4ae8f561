// Memory, processor and process limits for one machine through control groups, version 1 or 2, where this host lets us.

import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf } from '../lib/errno.ts';
import { isOwnerAlive, ownerMark } from '../lib/owner.ts';
import { killProcess } from './machine-name.ts';

const mount = '/sys/fs/cgroup';
const group = 'bulkhead';
const neededControllers = ['memory', 'pids', 'cpu'] as const;

export interface CgroupLimits {
  readonly memoryMaxBytes: number;
  readonly processesMaxCount: number;
  /** Processors' worth of time; 1.25 is one and a quarter. */
  readonly cpus: number;
}

/** A place where groups for machines can be made: one directory, or with version 1 one for each controller. */
export interface CgroupRoot {
  readonly version: 1 | 2;
  readonly directories: readonly string[];
}

function ownPath(controller: string): string {
  const line = readFileSync('/proc/self/cgroup', 'utf8')
    .split('\n')
    .find((candidate) => candidate.split(':')[1]?.split(',').includes(controller));
  return line?.split(':')[2] ?? '/';
}

async function openVersion2(): Promise<CgroupRoot> {
  const enable = neededControllers.map((controller) => `+${controller}`).join(' ');
  await writeFile(join(mount, 'cgroup.subtree_control'), enable);
  const directory = join(mount, group);
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, 'cgroup.subtree_control'), enable);
  return { version: 2, directories: [directory] };
}

async function openVersion1(): Promise<CgroupRoot> {
  const directories = neededControllers.map((controller) => join(mount, controller, ownPath(controller), group));
  for (const directory of directories) await mkdir(directory, { recursive: true });
  return { version: 1, directories };
}

/** Finds out by trying whether groups with limits can be made here; undefined where not. */
export async function openCgroups(): Promise<CgroupRoot | undefined> {
  try {
    const root = existsSync(join(mount, 'cgroup.controllers')) ? await openVersion2() : await openVersion1();
    const trial = `${ownerMark}.trial-${randomBytes(4).toString('hex')}`;
    await makeGroup(root, trial, { memoryMaxBytes: 64 * 1024 * 1024, processesMaxCount: 16, cpus: 1 });
    await removeGroup(root, trial);
    return root;
  } catch {
    return undefined;
  }
}

function settings(
  root: CgroupRoot,
  limits: CgroupLimits,
): readonly (readonly [directory: number, file: string, value: string])[] {
  const quota = `${Math.round(limits.cpus * 100_000)}`;
  const memory = `${limits.memoryMaxBytes}`;
  const processes = `${limits.processesMaxCount}`;
  if (root.version === 2) {
    return [
      [0, 'memory.max', memory],
      [0, 'pids.max', processes],
      [0, 'cpu.max', `${quota} 100000`],
    ];
  }
  return [
    [0, 'memory.limit_in_bytes', memory],
    [1, 'pids.max', processes],
    [2, 'cpu.cfs_quota_us', quota],
  ];
}

/** A group may take so long to be empty after its processes were killed; most take some milliseconds. */
const emptyWaitMs = 5000;
const emptySoonMs = 20;

/** Makes the group `name`, which begins with its owner's mark; returns the files that a process writes `0` into to join it. */
export async function makeGroup(root: CgroupRoot, name: string, limits: CgroupLimits): Promise<string[]> {
  const directories = root.directories.map((directory) => join(directory, name));
  await Promise.all(directories.map((directory) => mkdir(directory)));
  await Promise.all(
    settings(root, limits).map(([directory, file, value]) =>
      writeFile(join(directories[directory] ?? '', file), value),
    ),
  );
  // Guest memory must not reach a disk; the file is there only where swap accounting is.
  const swap = join(directories[0] ?? '', 'memory.swap.max');
  if (existsSync(swap)) await writeFile(swap, '0');
  return directories.map((directory) => join(directory, 'cgroup.procs'));
}

/** Removes the group `name`; a group that is not there counts as removed. Waits for its last thread, on a busy host for seconds: it may still be giving memory back. */
export async function removeGroup(root: CgroupRoot, name: string): Promise<void> {
  await Promise.all(root.directories.map((directory) => removeEmptied(join(directory, name))));
}

async function removeEmptied(directory: string): Promise<void> {
  const started = performance.now();
  for (;;) {
    try {
      await rmdir(directory);
      return;
    } catch (error) {
      const code = errnoOf(error);
      if (code === 'ENOENT') return;
      if (code !== 'EBUSY' || performance.now() > started + emptyWaitMs) throw error;
    }
    const pauseMs = performance.now() < started + emptySoonMs ? 1 : 20;
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}

/** Names of the groups here, whosever they are. */
async function listGroups(root: CgroupRoot): Promise<string[]> {
  const names = new Set<string>();
  for (const directory of root.directories) {
    for (const entry of await readdir(directory, { withFileTypes: true }).catch(() => [])) {
      if (entry.isDirectory()) names.add(entry.name);
    }
  }
  return [...names];
}

/** Ends every process in the group `name`, then removes it. */
async function endGroup(root: CgroupRoot, name: string): Promise<void> {
  for (const directory of root.directories) {
    const members = await readFile(join(directory, name, 'cgroup.procs'), 'utf8').catch(() => '');
    for (const pid of members.split('\n').map(Number)) {
      if (pid > 1) killProcess(pid);
    }
  }
  await removeGroup(root, name);
}

/** Ends the groups of processes that are no more; a line for each. */
export async function sweepGroups(root: CgroupRoot): Promise<string[]> {
  const removed: string[] = [];
  for (const name of await listGroups(root)) {
    if (isOwnerAlive(name)) continue;
    await endGroup(root, name);
    removed.push(`control group ${name}`);
  }
  return removed;
}
