// A template's memory as machines map it: an anonymous file, filled once, then sealed, so that neither a broken-out VMM nor we
// can ever change what later machines start from. One copy a tenant: pages that two tenants share are a side channel.

import { closeSync, ftruncateSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { copyExtent, createMemory, dataExtents, sealMemory } from './host-calls.ts';

const copyAlignment = 1_048_576;

/** Fills and seals a copy of the file at `path`; returns its descriptor, which the caller closes. */
export async function loadSealedMemory(path: string, sizeBytes: number): Promise<number> {
  const memory = createMemory('bulkhead-template');
  try {
    ftruncateSync(memory, sizeBytes);
    await copyFile(path, memory, sizeBytes);
    sealMemory(memory);
    return memory;
  } catch (error) {
    closeSync(memory);
    throw error;
  }
}

/** Two halves side by side: one processor fills memory at less than half the speed of two. */
async function copyFile(path: string, memory: number, sizeBytes: number): Promise<void> {
  await using file = await open(path, 'r');
  const half = Math.floor(sizeBytes / 2 / copyAlignment) * copyAlignment;
  const extents = dataExtents(file.fd, sizeBytes);
  await Promise.all(
    [
      { from: 0, to: half },
      { from: half, to: sizeBytes },
    ].map(async ({ from, to }) => {
      // An open file of its own: the position in it is what a copy moves.
      await using target = await open(`/proc/self/fd/${memory}`, 'r+');
      for (const { offset, length } of extents) {
        const start = Math.max(offset, from);
        const end = Math.min(offset + length, to);
        if (start < end) await copyExtent(file.fd, target.fd, { offset: start, length: end - start });
      }
    }),
  );
}
