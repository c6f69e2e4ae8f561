// Where images are in a cache folder, and the rules that keep it whole: a folder under `images/` or `bases/` is complete, because it
// got its name by a rename; what is under `building/` belongs to the builder that holds the lock, or to nobody.

import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { errnoOf } from '../lib/errno.ts';
import { killGroup, runBuildProcess } from './build-process.ts';

export interface ImageCachePaths {
  readonly images: string;
  readonly bases: string;
  readonly building: string;
  readonly lock: string;
}

export function imageCachePaths(cacheDir: string): ImageCachePaths {
  return {
    images: join(cacheDir, 'images'),
    bases: join(cacheDir, 'image-bases'),
    building: join(cacheDir, 'image-building'),
    lock: join(cacheDir, 'images.lock'),
  };
}

export async function makeImageCache(cacheDir: string): Promise<ImageCachePaths> {
  const paths = imageCachePaths(cacheDir);
  for (const dir of [cacheDir, paths.images, paths.bases, paths.building])
    await mkdir(dir, { recursive: true, mode: 0o700 });
  return paths;
}

/** The names in a folder; a folder that is not there has none. */
export async function namesIn(dir: string): Promise<readonly string[]> {
  try {
    return (await readdir(dir)).sort();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}

/** Puts a finished folder in its place, also where there is one already. Both must be on one file system. */
export async function putInPlace(finished: string, place: string): Promise<void> {
  const old = `${finished}.replaced`;
  await rename(place, old).catch(ignore('ENOENT'));
  await rename(finished, place);
  await rm(old, { recursive: true, force: true });
}

const builderRecordSchema = z.object({
  /** A folder outside the cache that belongs to this build. */
  outside: z.string().optional(),
  group: z.number().int().min(2).optional(),
  groupStartTicks: z.string().optional(),
});
type BuilderRecord = z.infer<typeof builderRecordSchema>;

const recordName = 'builder.json';

/** Leaves word of what a sweep must end and remove should this process be killed. */
export async function recordBuilder(workDir: string, outside: string | undefined, group?: number): Promise<void> {
  const groupStartTicks = group === undefined ? undefined : await startTicks(group);
  const record: BuilderRecord = {
    ...(outside === undefined ? {} : { outside }),
    ...(group === undefined ? {} : { group }),
    ...(groupStartTicks === undefined ? {} : { groupStartTicks }),
  };
  await writeFile(join(workDir, recordName), JSON.stringify(record), { mode: 0o600 });
}

/** Ends and removes what killed builders left. The caller holds the lock, so no living builder has a folder here. */
export async function sweepBuilds(paths: ImageCachePaths): Promise<readonly string[]> {
  const names = await namesIn(paths.building);
  for (const name of names) {
    const workDir = join(paths.building, name);
    const record = await readRecord(workDir);
    const { group, groupStartTicks, outside } = record;
    if (group !== undefined && groupStartTicks !== undefined && (await startTicks(group)) === groupStartTicks) {
      killGroup(group, 'SIGKILL');
      await waitForGroup(group);
    }
    if (outside !== undefined) await removeTree(outside);
    await removeTree(workDir);
  }
  return names;
}

async function readRecord(workDir: string): Promise<BuilderRecord> {
  try {
    return builderRecordSchema.parse(JSON.parse(await readFile(join(workDir, recordName), 'utf8')));
  } catch {
    return {}; // killed before or while it was written: then there is no process yet
  }
}

/** When a process started, in clock ticks since boot: with the pid, it names one process for ever. */
async function startTicks(pid: number): Promise<string | undefined> {
  try {
    const text = await readFile(`/proc/${pid}/stat`, 'utf8');
    return text.slice(text.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
}

async function waitForGroup(group: number): Promise<void> {
  for (let tries = 0; tries < 100 && (await startTicks(group)) !== undefined; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Removes a folder; one that an unprivileged build filled belongs to the user's subordinate ids, and mmdebstrap can act as those. */
export async function removeTree(dir: string): Promise<void> {
  try {
    await rm(dir, { recursive: true, force: true, maxRetries: 3 });
  } catch (error) {
    if (!['EACCES', 'EPERM'].includes(errnoOf(error) ?? '')) throw error;
    await runBuildProcess('mmdebstrap', ['--unshare-helper', 'rm', '-rf', dir], { cwd: '/' });
    await rm(dir, { recursive: true, force: true });
  }
}

function ignore(code: string): (error: unknown) => void {
  return (error) => {
    if (errnoOf(error) !== code) throw error;
  };
}
