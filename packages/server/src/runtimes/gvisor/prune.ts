// Takes back what containers of other images need on the disk: their roots and their templates.

import { randomBytes } from 'node:crypto';
import { readFile, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { ownerMark } from '../../lib/owner.ts';
import { findMachines } from '../machine-name.ts';

export interface PrunedContainers {
  readonly kind: 'container-root' | 'container-template';
  readonly name: string;
}

const factsSchema = z.object({ image: z.string() });

/**
 * Removes the roots and templates of other images than these, by digest. Roots stay while any container runs on this host: it reads
 * its files from one.
 */
export async function pruneContainers(cacheDir: string, images: ReadonlySet<string>): Promise<PrunedContainers[]> {
  const removed: PrunedContainers[] = [];
  const templates = join(cacheDir, 'container-templates');
  for (const name of await visibleNames(templates)) {
    if (images.has(await imageOf(join(templates, name)))) continue;
    await removeAtOnce(templates, name);
    removed.push({ kind: 'container-template', name });
  }
  if (findMachines().some(({ form }) => form === 'container')) return removed;
  const roots = join(cacheDir, 'container-roots');
  for (const name of await visibleNames(roots)) {
    if (images.has(name.slice(0, name.lastIndexOf('-')))) continue;
    await removeAtOnce(roots, name);
    removed.push({ kind: 'container-root', name });
  }
  return removed;
}

async function visibleNames(directory: string): Promise<readonly string[]> {
  const names = await readdir(directory).catch(() => []);
  return names.filter((name) => !name.startsWith('.')).toSorted();
}

/** Of a template that cannot be read: nothing, which is no image's. */
async function imageOf(directory: string): Promise<string> {
  try {
    return factsSchema.parse(JSON.parse(await readFile(join(directory, 'template.json'), 'utf8'))).image;
  } catch {
    return '';
  }
}

/** Half of it would be taken for the whole: it loses its name first, and the sweep ends what is cut short. */
async function removeAtOnce(parent: string, name: string): Promise<void> {
  const condemned = join(parent, `.${ownerMark}.${randomBytes(4).toString('hex')}`);
  await rename(join(parent, name), condemned);
  await rm(condemned, { recursive: true, force: true });
}
