// Which pages of a machine's memory are its own: what it wrote since it was restored, as the kernel's page table of the VMM says.
// Source of the bits: Documentation/admin-guide/mm/pagemap.rst.

import { readSync } from 'node:fs';

export const pageBytes = 4096;
const entryBytes = 8;
const scanEntries = 131_072;
/** In the upper half of an entry: present in memory, swapped out, of a file. */
const present = 0x8000_0000;
const swapped = 0x4000_0000;
const ofFile = 0x2000_0000;

/** Neighbouring pages, counted from the start of the machine's memory. */
export interface PageRun {
  readonly first: number;
  readonly count: number;
}

/** Where a machine's memory is mapped in its VMM, from the text of `/proc/<pid>/maps`. Throws when it is not in one piece. */
export function findMemory(maps: string, fileName: string, sizeBytes: number): number {
  const pieces = [...maps.matchAll(/^([0-9a-f]+)-([0-9a-f]+) \S+ ([0-9a-f]+) \S+ \d+ +(.*)$/gm)]
    .filter(([, , , , path]) => path?.startsWith(`/memfd:${fileName} `) === true)
    .map(([, start = '', end = '', offset = '']) => ({
      start: Number.parseInt(start, 16),
      end: Number.parseInt(end, 16),
      offset: Number.parseInt(offset, 16),
    }))
    .toSorted((a, b) => a.offset - b.offset);
  const [base] = pieces;
  let mapped = 0;
  for (const { start, end, offset } of pieces) {
    if (offset !== mapped || start !== (base?.start ?? 0) + mapped) break;
    mapped += end - start;
  }
  if (base === undefined || mapped !== sizeBytes) throw new Error("the machine's memory is not mapped in one piece");
  return base.start;
}

/** The runs of private pages in `sizeBytes` from `address`; `pagemap` is a descriptor of `/proc/<pid>/pagemap`. */
export function findTouchedPages(pagemap: number, address: number, sizeBytes: number): PageRun[] {
  const runs: { first: number; count: number }[] = [];
  const pages = sizeBytes / pageBytes;
  const entries = new Uint32Array(2 * Math.min(pages, scanEntries));
  const bytes = new Uint8Array(entries.buffer);
  let run: { first: number; count: number } | undefined;
  for (let from = 0; from < pages; from += scanEntries) {
    const wanted = Math.min(scanEntries, pages - from) * entryBytes;
    const position = (address / pageBytes + from) * entryBytes;
    for (let got = 0; got < wanted;) {
      const size = readSync(pagemap, bytes, got, wanted - got, position + got);
      if (size === 0) throw new Error('the page table of the machine ended early');
      got += size;
    }
    for (let i = 0; i < wanted / entryBytes; i++) {
      const flags = entries[2 * i + 1] ?? 0;
      const own = (flags & swapped) !== 0 || ((flags & present) !== 0 && (flags & ofFile) === 0);
      if (!own) run = undefined;
      else if (run === undefined) runs.push((run = { first: from + i, count: 1 }));
      else run.count++;
    }
  }
  return runs;
}
