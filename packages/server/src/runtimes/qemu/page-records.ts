// A machine's memory as the records of a snapshot: what it has written to that differs from its template, and nothing else. A session changes a few
// words of most pages that it touches, counters of references for the most part, and of a third of them nothing that lasts.

import { readSync } from 'node:fs';
import { type Extent, type MemoryRange, copyFromProcess, copyToProcess } from '../../lib/host-calls.ts';
import { type SealedWriter, recordMaxBytes } from '../../snapshots/sealed-file.ts';
import { type PageRun, pageBytes } from './touched-pages.ts';

/**
 * `pages`: a u32 count, that many runs (u32 first page, u32 pages), their bytes. `zeros`: runs of pages that hold nothing. `patches`: of each page its
 * number (u32), how many words of four bytes differ from the template's (u16), their places in the page (u16 each), then the words as memory has them.
 */
export const pageKinds = { pages: 2, zeros: 3, patches: 5 } as const;

/** What a machine started from. */
export interface TemplatePages {
  /** Its memory: a descriptor of the process's. */
  readonly memory: number;
  /** Where it holds something. */
  readonly data: readonly Extent[];
}

/** The memory of a VMM's machine. */
export interface MachineMemory {
  readonly pid: number;
  readonly address: number;
  readonly bytes: number;
}

/** Pages that are put into records at once: as many as one has room for, each with a run of its own. */
const batchPages = 248;
const wordBytes = 4;
const pageWords = pageBytes / wordBytes;
/** A page that differs in more words than this is written whole: each takes six bytes. */
const patchMaxWords = 256;
const patchHeadBytes = 6;
const placeBytes = 2;
const runBytes = 8;

/** Writes what differs in `runs`, pages that a stopped machine has of its own. */
export function writePages(
  writer: SealedWriter,
  machine: MachineMemory,
  runs: readonly PageRun[],
  template: TemplatePages,
): void {
  using pages = new PageWriter(writer, machine, template.memory);
  const { changed, fresh } = splitRuns(runs, template.data);
  for (const batch of inBatches(fresh)) pages.writeFresh(batch);
  for (const batch of inBatches(changed)) pages.writeChanged(batch);
  pages.end();
}

/** Apart: where the template holds something, and where it does not. Both are in order. */
export function splitRuns(
  runs: readonly PageRun[],
  data: readonly Extent[],
): { readonly changed: readonly PageRun[]; readonly fresh: readonly PageRun[] } {
  const [changed, fresh]: [PageRun[], PageRun[]] = [[], []];
  let next = 0;
  for (const { first, count } of runs) {
    const end = first + count;
    let at = first;
    while (at < end) {
      while (next < data.length && endPage(data[next]) <= at) next++;
      const from = Math.min(end, Math.max(at, firstPage(data[next])));
      const to = Math.min(end, Math.max(from, endPage(data[next])));
      if (from > at) fresh.push({ first: at, count: from - at });
      if (to > from) changed.push({ first: from, count: to - from });
      at = to;
    }
  }
  return { changed, fresh };
}

function firstPage(extent: Extent | undefined): number {
  return extent === undefined ? Number.POSITIVE_INFINITY : Math.floor(extent.offset / pageBytes);
}

function endPage(extent: Extent | undefined): number {
  return extent === undefined ? Number.POSITIVE_INFINITY : Math.ceil((extent.offset + extent.length) / pageBytes);
}

function* inBatches(runs: readonly PageRun[]): Generator<readonly PageRun[], void, void> {
  let batch: PageRun[] = [];
  let room = batchPages;
  for (const { first, count } of runs) {
    for (let done = 0; done < count;) {
      const piece = Math.min(count - done, room);
      batch.push({ first: first + done, count: piece });
      done += piece;
      room -= piece;
      if (room > 0) continue;
      yield batch;
      [batch, room] = [[], batchPages];
    }
  }
  if (batch.length > 0) yield batch;
}

/** Pages as they are and as the template has them, and where they differ: of one writer at a time, which does not wait for anything. */
const now = new Int32Array(batchPages * pageWords);
const before = new Int32Array(batchPages * pageWords);
const places = new Uint16Array(patchMaxWords);

class PageWriter implements Disposable {
  readonly #writer: SealedWriter;
  readonly #machine: MachineMemory;
  readonly #template: number;
  #zeroRuns: { first: number; count: number }[] = [];

  constructor(writer: SealedWriter, machine: MachineMemory, template: number) {
    this.#writer = writer;
    this.#machine = machine;
    this.#template = template;
  }

  /** Pages of which the template has something. */
  writeChanged(runs: readonly PageRun[]): void {
    const { pid, address } = this.#machine;
    const data = bytesOf(now);
    copyFromProcess(pid, rangesOf(runs, address), data);
    readRuns(this.#template, runs, bytesOf(before));
    const whole = new PageList();
    const patches: Buffer[] = [];
    let at = 0;
    for (const page of pagesOf(runs)) {
      const count = compare(at * pageWords);
      if (count > patchMaxWords) {
        const bytes = data.subarray(at * pageBytes, (at + 1) * pageBytes);
        if (isZeroPage(bytes, 0)) extend(this.#zeroRuns, page);
        else whole.add(page, bytes);
      } else if (count > 0) patches.push(makePatch(page, at * pageWords, count));
      at++;
    }
    this.#writeWhole(whole);
    if (patches.length > 0) this.#writer.write(pageKinds.patches, ...patches);
  }

  /** Pages of which the template has nothing: those that hold nothing are left out. They are read to where they are sealed. */
  writeFresh(runs: readonly PageRun[]): void {
    const { pid, address } = this.#machine;
    const head = encodeRuns(runs);
    const record = this.#writer.space.subarray(0, head.length + countPages(runs) * pageBytes);
    const data = record.subarray(head.length);
    copyFromProcess(pid, rangesOf(runs, address), data);
    if (holdsZeroPage(data)) {
      this.#writeWhole(withoutZeroPages(runs, data));
      return;
    }
    record.set(head);
    this.#writer.seal(pageKinds.pages, record.length);
  }

  end(): void {
    for (let at = 0; at < this.#zeroRuns.length; at += batchPages) {
      this.#writer.write(pageKinds.zeros, encodeRuns(this.#zeroRuns.slice(at, at + batchPages)));
    }
  }

  /** What guests have in memory is not left in ours. */
  [Symbol.dispose](): void {
    now.fill(0);
  }

  #writeWhole({ count, runs, bytes }: PageList): void {
    if (count > 0) this.#writer.write(pageKinds.pages, encodeRuns(runs), ...bytes);
  }
}

/** How many words of a page differ, and in `places` where; one more than fit when there are more. */
function compare(from: number): number {
  let count = 0;
  for (let word = 0; word < pageWords; word++) {
    if (now[from + word] === before[from + word]) continue;
    if (count === patchMaxWords) return patchMaxWords + 1;
    places[count++] = word;
  }
  return count;
}

function makePatch(page: number, from: number, count: number): Buffer {
  const patch = Buffer.allocUnsafe(patchHeadBytes + count * (placeBytes + wordBytes));
  patch.writeUInt32BE(page);
  patch.writeUInt16BE(count, 4);
  const words = patchHeadBytes + count * placeBytes;
  for (let i = 0; i < count; i++) {
    const place = places[i] ?? 0;
    patch.writeUInt16BE(place, patchHeadBytes + i * placeBytes);
    patch.writeInt32LE(now[from + place] ?? 0, words + i * wordBytes);
  }
  return patch;
}

/** Pages that are written whole. */
class PageList {
  readonly runs: { first: number; count: number }[] = [];
  readonly bytes: Buffer[] = [];

  get count(): number {
    return this.bytes.length;
  }

  add(page: number, bytes: Buffer): void {
    extend(this.runs, page);
    this.bytes.push(bytes);
  }
}

function bytesOf({ buffer, byteOffset, byteLength }: Int32Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}

function rangesOf(runs: readonly PageRun[], address: number): readonly MemoryRange[] {
  return runs.map(({ first, count }) => ({ address: address + first * pageBytes, length: count * pageBytes }));
}

/** Pages of a file, one after another. */
function readRuns(fd: number, runs: readonly PageRun[], bytes: Buffer): void {
  let filled = 0;
  for (const { first, count } of runs) {
    const length = count * pageBytes;
    if (readSync(fd, bytes, filled, length, first * pageBytes) !== length) throw new Error('the template ended early');
    filled += length;
  }
}

function* pagesOf(runs: readonly PageRun[]): Generator<number, void, void> {
  for (const { first, count } of runs) for (let page = first; page < first + count; page++) yield page;
}

export function countPages(runs: readonly PageRun[]): number {
  return runs.reduce((sum, { count }) => sum + count, 0);
}

const zeros = Buffer.alloc(recordMaxBytes);

/** Of no more than a record holds. */
export function isZero(bytes: Buffer): boolean {
  return zeros.compare(bytes, 0, bytes.length, 0, bytes.length) === 0;
}

/** Where nearly every page that holds something has a byte of it. */
const probes = [0, 8, 1024, 2048, 3072, pageBytes - 1] as const;

function isZeroPage(data: Buffer, at: number): boolean {
  for (const probe of probes) if (data[at + probe] !== 0) return false;
  return isZero(data.subarray(at, at + pageBytes));
}

function holdsZeroPage(data: Buffer): boolean {
  for (let at = 0; at < data.length; at += pageBytes) if (isZeroPage(data, at)) return true;
  return false;
}

/** With copies of the bytes: where they lie is written over. */
function withoutZeroPages(runs: readonly PageRun[], data: Buffer): PageList {
  const kept = new PageList();
  let at = 0;
  for (const page of pagesOf(runs)) {
    if (!isZeroPage(data, at)) kept.add(page, Buffer.from(data.subarray(at, at + pageBytes)));
    at += pageBytes;
  }
  return kept;
}

function extend(runs: { first: number; count: number }[], page: number): void {
  const last = runs.at(-1);
  if (last !== undefined && last.first + last.count === page) last.count++;
  else runs.push({ first: page, count: 1 });
}

function encodeRuns(runs: readonly PageRun[]): Buffer {
  const bytes = Buffer.alloc(4 + runs.length * runBytes);
  bytes.writeUInt32BE(runs.length);
  for (const [i, { first, count }] of runs.entries()) {
    bytes.writeUInt32BE(first, 4 + i * runBytes);
    bytes.writeUInt32BE(count, 8 + i * runBytes);
  }
  return bytes;
}

/** Puts a record of `pageKinds` into a machine whose memory is still its template's, but for what other records put there. */
export function restorePages(kind: number, record: Buffer, machine: MachineMemory): void {
  switch (kind) {
    case pageKinds.pages:
    case pageKinds.zeros:
      return restoreRuns(kind, record, machine);
    case pageKinds.patches:
      return restorePatches(record, machine);
    default:
      throw new RangeError(`the snapshot has a record of kind ${kind}`);
  }
}

function restoreRuns(kind: number, record: Buffer, { pid, address, bytes }: MachineMemory): void {
  const count = record.readUInt32BE();
  const runs: PageRun[] = [];
  for (let i = 0; i < count; i++) {
    const run = { first: record.readUInt32BE(4 + i * runBytes), count: record.readUInt32BE(8 + i * runBytes) };
    checkInside(run, bytes);
    runs.push(run);
  }
  const ranges = rangesOf(runs, address);
  if (kind === pageKinds.pages) copyToProcess(pid, ranges, record.subarray(4 + count * runBytes));
  else for (const range of ranges) clear(pid, range);
}

function clear(pid: number, { address, length }: MemoryRange): void {
  for (let done = 0; done < length; done += zeros.length) {
    const piece = zeros.subarray(0, Math.min(zeros.length, length - done));
    copyToProcess(pid, [{ address: address + done, length: piece.length }], piece);
  }
}

function restorePatches(record: Buffer, { pid, address, bytes }: MachineMemory): void {
  const patches: { readonly page: number; readonly count: number; readonly at: number }[] = [];
  for (let at = 0; at < record.length;) {
    const [page, count] = [record.readUInt32BE(at), record.readUInt16BE(at + 4)];
    checkInside({ first: page, count: 1 }, bytes);
    patches.push({ page, count, at: at + patchHeadBytes });
    at += patchHeadBytes + count * (placeBytes + wordBytes);
    if (at > record.length || patches.length > batchPages)
      throw new RangeError('the snapshot has patches that are none');
  }
  const ranges = rangesOf(
    patches.map(({ page }) => ({ first: page, count: 1 })),
    address,
  );
  const memory = Buffer.alloc(patches.length * pageBytes);
  copyFromProcess(pid, ranges, memory);
  for (const [i, { count, at }] of patches.entries()) {
    for (let word = 0; word < count; word++) {
      const place = record.readUInt16BE(at + word * placeBytes);
      if (place >= pageWords) throw new RangeError('the snapshot has a patch beyond its page');
      const from = at + count * placeBytes + word * wordBytes;
      record.copy(memory, i * pageBytes + place * wordBytes, from, from + wordBytes);
    }
  }
  copyToProcess(pid, ranges, memory);
}

function checkInside({ first, count }: PageRun, bytes: number): void {
  if ((first + count) * pageBytes > bytes) throw new RangeError('the snapshot holds more memory than the machine has');
}
