// Builds the guest image, or finds it built. One builder at a time in a cache; the second waits and takes what the first made.

import { randomBytes } from 'node:crypto';
import { copyFile, link, mkdir, readFile, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { BulkheadError } from '@bulkhead/protocol';
import { systemClock } from '../lib/clock.ts';
import { errnoOf } from '../lib/errno.ts';
import { type Base, buildBase, loadBase, sealFiles } from './base-build.ts';
import { toBuildError } from './build-errors.ts';
import { acquireCacheLock } from './cache-lock.ts';
import { type ImageCachePaths, makeImageCache, putInPlace, removeTree, sweepBuilds } from './image-cache.ts';
import { type Image, imageFormatVersion, type ImageManifest, loadImage } from './image.ts';
import { architecture, defaultRecipeDir, type Recipe, readRecipe, suite } from './image-recipe.ts';
import { makeAgentInitramfs } from './initramfs.ts';
import { makeSbom } from './sbom.ts';

const stageMessages = {
  wait: 'waiting for another process that is building the image',
  index: 'reading the package lists',
  download: 'downloading packages',
  unpack: 'unpacking packages',
  setup: 'setting up the root',
  compile: 'compiling Python libraries',
  check: 'checking that everything imports and runs',
  pack: 'packing the root disk',
  kernel: 'unpacking the kernel',
  finish: 'writing the image',
} as const;
export type ImageBuildStage = keyof typeof stageMessages;
const isStage = (name: string): name is ImageBuildStage => Object.hasOwn(stageMessages, name);

export interface ImageProgress {
  readonly stage: ImageBuildStage;
  readonly message: string;
  /** Since the call. */
  readonly elapsedMs: number;
}

export interface BuildImageOptions {
  readonly cacheDir: string;
  /** Where the recipe is; the agent is in `../agent`. The checkout's own by default. */
  readonly recipeDir?: string;
  /** Called when a stage begins. */
  readonly onProgress?: (progress: ImageProgress) => void;
  readonly signal?: AbortSignal;
  /** Builds all of it even when there is one. */
  readonly force?: boolean;
  /** What must be free on the disk of the cache before packages are unpacked. */
  readonly minFreeBytes?: number;
  /** The program that makes a root from packages; a test puts its own here. */
  readonly mmdebstrap?: string;
}

const defaultMinFreeBytes = 3 * 1024 ** 3;

/**
 * The image of the recipe as it is now, built when the cache does not have it: about a minute for new packages, under a second when
 * only the agent changed. A build that fails or is cancelled leaves the cache as it was.
 * Errors: `image_build_failed`, `disk_full`, `cancelled`.
 */
export async function buildImage(options: BuildImageOptions): Promise<Image> {
  const { signal } = options;
  const started = systemClock.nowMs();
  const onStage = (stage: string): void => {
    if (!isStage(stage)) return;
    options.onProgress?.({ stage, message: stageMessages[stage], elapsedMs: systemClock.nowMs() - started });
  };
  try {
    signal?.throwIfAborted();
    const recipe = await readRecipe(options.recipeDir ?? defaultRecipeDir);
    const paths = await makeImageCache(options.cacheDir);
    const found = options.force === true ? undefined : await findImage(paths, recipe);
    if (found !== undefined) return found;
    await using _lock = await acquireCacheLock(paths.lock, {
      onWait: () => onStage('wait'),
      ...(signal === undefined ? {} : { signal }),
    });
    await sweepBuilds(paths);
    const builtMeanwhile = options.force === true ? undefined : await findImage(paths, recipe);
    return builtMeanwhile ?? (await build(options, recipe, paths, onStage));
  } catch (error) {
    throw toBuildError(error, signal);
  }
}

async function findImage(paths: ImageCachePaths, recipe: Recipe): Promise<Image | undefined> {
  try {
    return await loadImage(join(paths.images, recipe.digest));
  } catch (error) {
    if (BulkheadError.is(error, 'image_missing')) return undefined;
    throw error;
  }
}

async function build(
  options: BuildImageOptions,
  recipe: Recipe,
  paths: ImageCachePaths,
  onStage: (stage: string) => void,
): Promise<Image> {
  const { signal } = options;
  const workDir = join(paths.building, randomBytes(8).toString('hex'));
  await mkdir(workDir, { mode: 0o700 });
  try {
    const baseDir = join(paths.bases, recipe.baseDigest);
    let base = options.force === true ? undefined : await loadBase(baseDir);
    if (base === undefined) {
      const finished = await buildBase({
        recipe,
        workDir,
        mmdebstrap: options.mmdebstrap ?? 'mmdebstrap',
        minFreeBytes: options.minFreeBytes ?? defaultMinFreeBytes,
        onStage,
        ...(signal === undefined ? {} : { signal }),
      });
      signal?.throwIfAborted();
      await putInPlace(finished, baseDir);
      base = await loadBase(baseDir);
      if (base === undefined) throw new Error('the finished base cannot be read');
    }
    const finished = await assembleImage(recipe, base, baseDir, workDir);
    signal?.throwIfAborted();
    const dir = join(paths.images, recipe.digest);
    await putInPlace(finished, dir);
    return await loadImage(dir);
  } finally {
    await removeTree(workDir);
  }
}

async function assembleImage(recipe: Recipe, base: Base, baseDir: string, workDir: string): Promise<string> {
  const dir = join(workDir, 'image');
  await mkdir(dir, { mode: 0o700 });
  for (const name of ['kernel', 'root.erofs'] as const)
    await shareFile(join(baseDir, name), join(dir, name), base.files[name].mtimeMs);
  const packagesPart = await readFile(join(baseDir, 'initramfs.base'));
  await writeFile(
    join(dir, 'initramfs'),
    Buffer.concat([packagesPart, makeAgentInitramfs(recipe.init, recipe.agentFiles)]),
  );
  const { kernelVersion, tools, packages } = base;
  const facts: Omit<ImageManifest, 'files'> = {
    formatVersion: imageFormatVersion,
    digest: recipe.digest,
    baseDigest: recipe.baseDigest,
    createdAt: new Date(systemClock.unixMs()).toISOString(),
    suite,
    architecture,
    kernelVersion,
    tools,
    packages,
  };
  await writeFile(join(dir, 'sbom.spdx.json'), `${JSON.stringify(makeSbom(facts), undefined, 1)}\n`);
  const made = await sealFiles(dir, ['initramfs', 'sbom.spdx.json']);
  const { kernel, 'root.erofs': root } = base.files;
  const manifest: ImageManifest = { ...facts, files: { kernel, 'root.erofs': root, ...made } };
  await writeFile(join(dir, 'manifest.json'), `${JSON.stringify(manifest, undefined, 1)}\n`);
  return dir;
}

/** A second name for a file that is never written again; where the file system has no second names, a copy. */
async function shareFile(from: string, to: string, mtimeMs: number): Promise<void> {
  try {
    await link(from, to);
  } catch (error) {
    if (!['EPERM', 'EMLINK', 'ENOTSUP', 'ENOSYS'].includes(errnoOf(error) ?? '')) throw error;
    await copyFile(from, to);
    await utimes(to, mtimeMs / 1000, mtimeMs / 1000);
  }
}
