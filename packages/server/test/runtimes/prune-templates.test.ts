// Which templates go when images are pruned.

import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { pruneTemplates } from '../../src/runtimes/qemu/template.ts';

test('templates of images that are gone go, and of the rest all but the newest of a size', async (context) => {
  const cacheDir = await mkdtemp(join(tmpdir(), 'bulkhead-prune-'));
  context.after(() => rm(cacheDir, { recursive: true }));
  assert.deepEqual(await pruneTemplates(cacheDir, new Set()), [], 'no templates');
  const place = async (name: string, facts: string): Promise<void> => {
    await mkdir(join(cacheDir, 'templates', name), { recursive: true });
    await writeFile(join(cacheDir, 'templates', name, 'memory'), Buffer.alloc(8192, 1));
    await writeFile(join(cacheDir, 'templates', name, 'template.json'), facts);
  };
  const facts = (image: string, size: string, day: number): string =>
    JSON.stringify({ image, size, accelerator: 'tcg', createdAt: `2026-11-0${day}T00:00:00.000Z` });
  await place('newest', facts('kept', 'small', 3));
  await place('older', facts('kept', 'small', 2));
  await place('other-size', facts('kept', 'large', 1));
  await place('of-gone', facts('gone', 'small', 4));
  await place('damaged', '{"image":');
  await place('.123-456.abcdef', '{}');
  const removed = await pruneTemplates(cacheDir, new Set(['kept']));
  assert.deepEqual(removed.map(({ digest }) => digest).toSorted(), ['damaged', 'of-gone', 'older']);
  assert.ok(
    removed.every(({ bytes }) => bytes >= 8192),
    'what they took on the disk',
  );
  assert.deepEqual((await readdir(join(cacheDir, 'templates'))).toSorted(), [
    '.123-456.abcdef',
    'newest',
    'other-size',
  ]);
});
