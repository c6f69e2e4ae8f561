// What is in the cache: which images, are they whole, which may go.

import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { BulkheadError } from '@bulkhead/protocol';
import { digestFile } from './base-build.ts';
import { acquireCacheLock } from './cache-lock.ts';
import { imageCachePaths, makeImageCache, namesIn, sweepBuilds } from './image-cache.ts';
import { type Image, imageFileNames, loadImage } from './image.ts';

const prefixMinCharacters = 4;

/** The images of a cache, the newest first. Folders that are not whole images are left out. */
export async function listImages(cacheDir: string): Promise<readonly Image[]> {
  const { images } = imageCachePaths(cacheDir);
  const found: Image[] = [];
  for (const name of await namesIn(images)) {
    try {
      found.push(await loadImage(join(images, name)));
    } catch (error) {
      if (!BulkheadError.is(error, 'image_missing')) throw error;
    }
  }
  return found.sort((a, b) => (a.manifest.createdAt < b.manifest.createdAt ? 1 : -1));
}

export interface InspectOptions {
  /** Compares the digest of every file, which takes a second. */
  readonly verify?: boolean;
  readonly signal?: AbortSignal;
}

/**
 * One image by its digest or the beginning of it; the newest when none is named.
 * Errors: `image_missing` when there is none, more than one, or with `verify` when a file has another digest than it was built with.
 */
export async function inspectImage(cacheDir: string, prefix?: string, options: InspectOptions = {}): Promise<Image> {
  const images = await listImages(cacheDir);
  const matching =
    prefix === undefined
      ? images.slice(0, 1)
      : images.filter(({ digest }) => prefix.length >= prefixMinCharacters && digest.startsWith(prefix));
  const [image, second] = matching;
  if (image === undefined) {
    throw missing(
      prefix === undefined ? 'There is no guest image in the cache.' : `There is no guest image ${prefix}.`,
    );
  }
  if (second !== undefined) throw missing(`More than one guest image begins with ${prefix}.`);
  if (options.verify === true) await verifyImage(image, options.signal);
  return image;
}

async function verifyImage(image: Image, signal: AbortSignal | undefined): Promise<void> {
  for (const name of imageFileNames) {
    signal?.throwIfAborted();
    const digest = await digestFile(join(image.dir, name));
    if (digest === image.manifest.files[name].sha256) continue;
    throw new BulkheadError(
      'image_missing',
      `The guest image ${image.digest} is damaged: ${name} has another digest.`,
      {
        hint: 'Remove it with `bulkhead image prune`, or build it anew.',
        details: { file: name, expected: image.manifest.files[name].sha256, found: digest },
      },
    );
  }
}

export interface PruneOptions {
  /** How many of the newest stay. */
  readonly keep?: number;
  readonly signal?: AbortSignal;
  readonly onWait?: () => void;
}

/**
 * Removes images, whatever only they used, and what killed builders left; answers the images that went. Machines that run on a removed
 * image keep its files open and run on. Waits for a build that is under way.
 */
export async function pruneImages(cacheDir: string, options: PruneOptions = {}): Promise<readonly Image[]> {
  const { keep = 1, signal, onWait } = options;
  const paths = await makeImageCache(cacheDir);
  await using _lock = await acquireCacheLock(paths.lock, {
    ...(onWait === undefined ? {} : { onWait }),
    ...(signal === undefined ? {} : { signal }),
  });
  await sweepBuilds(paths);
  const images = await listImages(cacheDir);
  const kept = images.slice(0, Math.max(0, keep));
  const keptDigests = new Set(kept.map(({ digest }) => digest));
  const keptBases = new Set(kept.map(({ manifest }) => manifest.baseDigest));
  for (const name of await namesIn(paths.images)) {
    if (!keptDigests.has(name)) await rm(join(paths.images, name), { recursive: true, force: true });
  }
  for (const name of await namesIn(paths.bases)) {
    if (!keptBases.has(name)) await rm(join(paths.bases, name), { recursive: true, force: true });
  }
  return images.slice(Math.max(0, keep));
}

function missing(message: string): BulkheadError {
  return new BulkheadError('image_missing', message, {
    hint: `Run \`bulkhead image list\` to see what there is (at least ${prefixMinCharacters} characters name one), or \`bulkhead image build\`.`,
  });
}
