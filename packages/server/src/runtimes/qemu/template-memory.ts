// A template's memory as machines map it: an anonymous file, filled once, then sealed, so that neither a broken-out VMM nor we
// can ever change what later machines start from. One copy a tenant: pages that two tenants share are a side channel.

import { closeSync, ftruncateSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { copyExtent, createMemory, dataExtents, sealMemory } from './host-calls.ts';

/** Fills and seals a copy of the file at `path`; returns its descriptor, which the caller closes. */
export async function loadSealedMemory(path: string, sizeBytes: number): Promise<number> {
  const memory = createMemory('bulkhead-template');
  try {
    ftruncateSync(memory, sizeBytes);
    const file = await open(path, 'r');
    try {
      for (const extent of dataExtents(file.fd, sizeBytes)) await copyExtent(file.fd, memory, extent);
    } finally {
      await file.close();
    }
    sealMemory(memory);
    return memory;
  } catch (error) {
    closeSync(memory);
    throw error;
  }
}
