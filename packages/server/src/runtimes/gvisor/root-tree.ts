// The root of containers: the image's root disk, unpacked once, with the agent in it. Named by the image, and complete when it has its name: two
// that make it at once make the same, and the first rename wins. Containers never write to it.

import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, mkdir, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { BulkheadError } from '@bulkhead/protocol';
import { defaultRecipeDir, readRecipe } from '../../images/image-recipe.ts';
import type { Image } from '../../images/image.ts';
import { errnoOf } from '../../lib/errno.ts';
import { isOwnerAlive, ownerMark } from '../../lib/owner.ts';

/** Raise it when what is done to the unpacked root changes. */
const formatVersion = 1;
const unpackTimeoutMs = 120_000;
const run = promisify(execFile);

export interface RootTreeOptions {
  readonly cacheDir: string;
  readonly image: Image;
  readonly recipeDir?: string | undefined;
  readonly onProgress?: ((message: string) => void) | undefined;
}

/** Errors: `template_failed`, `disk_full`. */
export async function ensureRootTree(options: RootTreeOptions): Promise<string> {
  const parent = join(options.cacheDir, 'container-roots');
  const place = join(parent, `${options.image.digest}-${formatVersion}`);
  if (existsSync(place)) return place;
  options.onProgress?.("containers: unpacking the image's root");
  await mkdir(parent, { recursive: true, mode: 0o700 });
  const workspace = join(parent, `.${ownerMark}.${randomBytes(4).toString('hex')}`);
  try {
    await run('fsck.erofs', [`--extract=${workspace}`, '--preserve', '--force', options.image.rootPath], {
      timeout: unpackTimeoutMs,
    });
    await furnish(workspace, options);
    await rename(workspace, place).catch((error: unknown) => {
      if (errnoOf(error) !== 'ENOTEMPTY' && errnoOf(error) !== 'EEXIST') throw error;
    });
  } catch (error) {
    throw describeFailure(error, options.cacheDir);
  } finally {
    await rm(workspace, { recursive: true, force: true });
  }
  return place;
}

/** What a virtual machine gets at boot. */
async function furnish(root: string, { image, recipeDir = defaultRecipeDir }: RootTreeOptions): Promise<void> {
  const recipe = await readRecipe(recipeDir);
  if (recipe.digest !== image.digest) throw new Error('the image is not that of the recipe that is here now');
  for (const { name, content } of recipe.agentFiles) {
    const path = join(root, 'usr/lib/bulkhead/agent', name);
    await mkdir(dirname(path), { recursive: true, mode: 0o755 });
    await writeFile(path, content, { mode: 0o644 });
  }
  // A home is memory, and empty; the agent fills it from here.
  await rename(join(root, 'home/user'), join(root, 'usr/lib/bulkhead/home'));
  for (const place of ['home/user', 'var/cache/bulkhead']) await mkdir(join(root, place), { recursive: true });
  await rm(join(root, 'var/tmp'), { recursive: true, force: true });
  await symlink('/tmp', join(root, 'var/tmp'));
  await unpackBusybox(root, image);
  await chmod(root, 0o755);
}

/** For commands of the image that a kernel in user space may not be able to serve; it lies at the front of the initramfs. */
async function unpackBusybox(root: string, image: Image): Promise<void> {
  const script = 'cpio --quiet --extract --to-stdout bin/busybox <"$1" >"$2" 2>/dev/null && test -s "$2"';
  const path = join(root, 'usr/lib/bulkhead/busybox');
  await run('/bin/sh', ['-c', script, 'unpack', image.initramfsPath, path], { timeout: unpackTimeoutMs });
  await chmod(path, 0o755);
}

function describeFailure(error: unknown, cacheDir: string): BulkheadError {
  if (errnoOf(error) === 'ENOSPC') {
    const message = "There is no space for the containers' root.";
    return new BulkheadError('disk_full', message, { hint: `Free space in ${cacheDir}.`, cause: error });
  }
  const detail = error instanceof Error ? error.message : String(error);
  return new BulkheadError('template_failed', `The containers' root could not be made: ${detail}`, {
    hint: 'Run `bulkhead doctor`; script/bootstrap installs erofs-utils and cpio, which unpack the image.',
    cause: error,
  });
}

/** Removes what makers that died left; a line each. */
export async function sweepRootTrees(cacheDir: string): Promise<string[]> {
  return await sweepOwned(join(cacheDir, 'container-roots'), /^\.(\d+-\d+)\.[0-9a-f]+$/);
}

/** Removes what processes that are no more left in a folder; `pattern` finds the owner's mark in a name. */
export async function sweepOwned(directory: string, pattern: RegExp): Promise<string[]> {
  const removed: string[] = [];
  for (const name of await readdir(directory).catch(() => [])) {
    const mark = pattern.exec(name)?.[1];
    if (mark === undefined || isOwnerAlive(mark)) continue;
    await rm(join(directory, name), { recursive: true, force: true });
    removed.push(join(directory, name));
  }
  return removed;
}
