// The recipe of an image: the files it is made from, and the digests that name what comes out.
// Two layers: the base (packages, root disk, kernel), which takes a minute, and the initramfs with the agent, which takes none.

import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { imageFormatVersion } from './image.ts';

export const suite = 'bookworm';
export const architecture = 'amd64';

/** What the root disk is made from; a change to one of these builds all packages anew. */
const baseFiles = [
  'absent.txt',
  'assemble.sh',
  'check.py',
  'exclude.txt',
  'packages.txt',
  'prepare.sh',
  'setup.sh',
] as const;

export interface RecipeFile {
  readonly name: string;
  readonly content: Buffer;
}

export interface Recipe {
  readonly digest: string;
  readonly baseDigest: string;
  readonly baseFiles: readonly RecipeFile[];
  readonly init: Buffer;
  readonly agentFiles: readonly RecipeFile[];
}

/** The checkout's own recipe, and the agent beside it. */
export const defaultRecipeDir: string = fileURLToPath(new URL('../../../../guest/image', import.meta.url));

/** Reads the recipe in `dir` and the agent in `../agent`. */
export async function readRecipe(dir: string): Promise<Recipe> {
  const read = async (name: string): Promise<RecipeFile> => ({ name, content: await readFile(join(dir, name)) });
  const base = await Promise.all(baseFiles.map(read));
  const init = await readFile(join(dir, 'init'));
  const agentFiles = await readAgent(join(dirname(dir), 'agent'));
  const baseDigest = digestOf([`format ${imageFormatVersion}`, suite, architecture], base);
  const digest = digestOf([baseDigest], [{ name: 'init', content: init }, ...agentFiles]);
  return { digest, baseDigest, baseFiles: base, init, agentFiles };
}

async function readAgent(dir: string): Promise<readonly RecipeFile[]> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true });
  const paths = entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(dir, join(entry.parentPath, entry.name)))
    .filter((path) => !/(?:^|\/)(?:__pycache__|tests?|\..*)(?:\/|$)|\.pyc$/.test(path))
    .sort();
  return await Promise.all(paths.map(async (name) => ({ name, content: await readFile(join(dir, name)) })));
}

function digestOf(words: readonly string[], files: readonly RecipeFile[]): string {
  const hash = createHash('sha256');
  for (const word of words) hash.update(`${word}\0`);
  for (const { name, content } of files) hash.update(`${name}\0${content.length}\0`).update(content);
  return hash.digest('hex');
}
