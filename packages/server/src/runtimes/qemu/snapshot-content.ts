// What a snapshot of a machine holds, as the records of a sealed file, and how it gets there and back: touched pages, device
// state, scratch disk. Runs in a worker thread and does not return to its event loop: see snapshot-thread.ts.

import { readFileSync, readSync, writeSync, openSync, closeSync, fstatSync } from 'node:fs';
import {
  type ExpectedHeader,
  SealedReader,
  type SealedRecord,
  SealedWriter,
  type SnapshotHeader,
} from '../../snapshots/sealed-file.ts';
import { dataExtents } from '../../lib/host-calls.ts';
import { type PageRun, findMemory, findTouchedPages, pageBytes } from './touched-pages.ts';

const recordMaxBytes = 1024 * 1024;
const deviceStateMaxBytes = 1024 * 1024;
const runBytes = 8;
/** The name of the sealed memory that machines map. */
export const templateMemoryName = 'bulkhead-template';

/** `pages`: a u32 count, that many runs (u32 first page, u32 pages), their bytes. `zeros`: runs of pages that hold nothing. */
const kinds = { deviceState: 1, pages: 2, zeros: 3, scratch: 4 } as const;

/** A stopped machine, or one that waits for its content. Descriptors are the process's. */
export interface MachineParts {
  readonly pid: number;
  readonly memoryBytes: number;
  readonly scratch: number;
  readonly scratchBytes: number;
  readonly deviceState: number;
}

export interface CaptureJob {
  readonly type: 'capture';
  readonly machine: MachineParts;
  /** What the machine's memory was when it was launched. */
  readonly templateMemory: number;
  readonly target: number;
  readonly key: Uint8Array;
  readonly header: SnapshotHeader;
}

/** Before its machine is there. What is read stays in the thread until it is restored or discarded. */
export interface OpenJob {
  readonly type: 'open';
  readonly source: number;
  readonly key: Uint8Array;
  readonly expected: ExpectedHeader;
}

/** Of what an `OpenJob` answered with. */
export interface RestoreJob {
  readonly type: 'restore';
  readonly opened: number;
  readonly machine: MachineParts;
}

export interface DiscardJob {
  readonly type: 'discard';
  readonly opened: number;
}

export interface CountJob {
  readonly type: 'count';
  readonly machine: Pick<MachineParts, 'pid' | 'memoryBytes'>;
}

/** What was written. */
export interface CaptureResult {
  readonly bytes: number;
  readonly pages: number;
  readonly scratchBytes: number;
}

/** Bytes of memory that the machine has touched. */
export function countTouched(job: CountJob): number {
  return withMemory(job.machine, (runs) => runs.reduce((sum, { count }) => sum + count * pageBytes, 0));
}

function withMemory<T>(
  { pid, memoryBytes }: Pick<MachineParts, 'pid' | 'memoryBytes'>,
  use: (runs: readonly PageRun[], address: number) => T,
): T {
  const address = findMemory(readFileSync(`/proc/${pid}/maps`, 'utf8'), templateMemoryName, memoryBytes);
  const pagemap = openSync(`/proc/${pid}/pagemap`, 'r');
  try {
    return use(findTouchedPages(pagemap, address, memoryBytes), address);
  } finally {
    closeSync(pagemap);
  }
}

export function capture(job: CaptureJob): CaptureResult {
  const { machine } = job;
  const writer = new SealedWriter(job.target, job.key, job.header);
  const state = readFileAt(machine.deviceState, deviceStateMaxBytes);
  writer.write(kinds.deviceState, state);
  const scratchBytes = captureScratch(machine, writer);
  const pages = withMemory(machine, (runs, address) => {
    const memory = openSync(`/proc/${machine.pid}/mem`, 'r');
    try {
      const pageWriter = new PageWriter(writer, { memory, address, template: job.templateMemory });
      for (const run of runs) pageWriter.add(run);
      return pageWriter.end();
    } finally {
      closeSync(memory);
    }
  });
  return { ...writer.finish(), pages, scratchBytes };
}

function readFileAt(fd: number, maxBytes: number): Buffer {
  const { size } = fstatSync(fd);
  if (size === 0 || size > maxBytes) throw new Error(`the device state has ${size} bytes`);
  const bytes = Buffer.alloc(size);
  for (let at = 0; at < size;) {
    const got = readSync(fd, bytes, at, size - at, at);
    if (got === 0) throw new Error('the device state ended early');
    at += got;
  }
  return bytes;
}

/** Each record: u64 offset on the disk, then the bytes there. What holds only zeros is left out. */
function captureScratch({ scratch, scratchBytes }: MachineParts, writer: SealedWriter): number {
  const record = Buffer.alloc(recordMaxBytes);
  const data = record.subarray(8);
  let written = 0;
  for (const { offset, length } of dataExtents(scratch, scratchBytes)) {
    for (let at = offset; at < offset + length;) {
      const got = readSync(scratch, data, 0, Math.min(recordMaxBytes / 2, offset + length - at), at);
      if (got === 0) break;
      if (!isZero(data.subarray(0, got))) {
        record.writeBigUInt64BE(BigInt(at));
        writer.write(kinds.scratch, record.subarray(0, 8 + got));
        written += got;
      }
      at += got;
    }
  }
  return written;
}

const zeros = Buffer.alloc(recordMaxBytes);
function isZero(bytes: Buffer): boolean {
  return zeros.compare(bytes, 0, bytes.length, 0, bytes.length) === 0;
}

interface PageSources {
  readonly memory: number;
  readonly address: number;
  readonly template: number;
}

/** Packs pages into records; leaves out those that are as in the template, and the bytes of those that are zero. */
class PageWriter {
  readonly #writer: SealedWriter;
  readonly #from: PageSources;
  readonly #data = Buffer.alloc(recordMaxBytes / 2);
  readonly #template = Buffer.alloc(recordMaxBytes / 2);
  readonly #packed = Buffer.alloc(recordMaxBytes / 2);
  #packedPages = 0;
  #runs: { first: number; count: number }[] = [];
  #zeroRuns: { first: number; count: number }[] = [];
  #written = 0;

  constructor(writer: SealedWriter, from: PageSources) {
    this.#writer = writer;
    this.#from = from;
  }

  add({ first, count }: PageRun): void {
    const piece = this.#data.length / pageBytes;
    for (let done = 0; done < count; done += piece) this.#addPiece(first + done, Math.min(piece, count - done));
  }

  #addPiece(first: number, count: number): void {
    const { memory, address, template } = this.#from;
    const now = this.#data.subarray(0, count * pageBytes);
    const before = this.#template.subarray(0, count * pageBytes);
    readExactly(memory, now, address + first * pageBytes);
    readExactly(template, before, first * pageBytes);
    for (let i = 0; i < count; i++) {
      const from = i * pageBytes;
      const to = from + pageBytes;
      if (now.compare(before, from, to, from, to) === 0) continue;
      this.#written++;
      const page = now.subarray(from, to);
      if (isZero(page)) extend(this.#zeroRuns, first + i);
      else this.#pack(first + i, page);
    }
  }

  #pack(number: number, page: Buffer): void {
    if ((this.#packedPages + 1) * pageBytes > this.#packed.length) this.#flush();
    page.copy(this.#packed, this.#packedPages * pageBytes);
    this.#packedPages++;
    extend(this.#runs, number);
  }

  #flush(): void {
    if (this.#packedPages === 0) return;
    const data = this.#packed.subarray(0, this.#packedPages * pageBytes);
    this.#writer.write(kinds.pages, encodeRuns(this.#runs), data);
    this.#packedPages = 0;
    this.#runs = [];
  }

  /** How many pages differ from the template's. */
  end(): number {
    this.#flush();
    const most = Math.floor((recordMaxBytes - 4) / runBytes);
    for (let at = 0; at < this.#zeroRuns.length; at += most) {
      this.#writer.write(kinds.zeros, encodeRuns(this.#zeroRuns.slice(at, at + most)));
    }
    return this.#written;
  }
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

function readExactly(fd: number, into: Buffer, position: number): void {
  for (let at = 0; at < into.length;) {
    const got = readSync(fd, into, at, into.length - at, position + at);
    if (got === 0) throw new Error('memory ended early');
    at += got;
  }
}

function writeExactly(fd: number, bytes: Buffer, position: number): void {
  for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at, bytes.length - at, position + at);
}

/** So much of a snapshot is read before its machine is there. */
const aheadMaxBytes = 64 * 1024 * 1024;

/** A snapshot that is being read: what can be done with it while QEMU starts has been done. */
export class OpenedSnapshot {
  readonly #reader: SealedReader;
  readonly #rest: Iterator<SealedRecord, void, void>;
  readonly #ahead: SealedRecord[] = [];

  /** Errors: `snapshot_invalid`, `snapshot_incompatible`. */
  constructor({ source, key, expected }: OpenJob) {
    this.#reader = SealedReader.open(source, key, expected);
    this.#rest = this.#reader.records();
    for (let bytes = 0; bytes < aheadMaxBytes;) {
      const { done, value } = this.#rest.next();
      if (done === true) break;
      this.#ahead.push(value);
      bytes += value.bytes.length;
    }
  }

  /** Once. The machine may run only when this has returned: what was read before the end of the file is not yet known to be whole. */
  restore(machine: MachineParts): SnapshotHeader {
    const maps = readFileSync(`/proc/${machine.pid}/maps`, 'utf8');
    const address = findMemory(maps, templateMemoryName, machine.memoryBytes);
    const memory = openSync(`/proc/${machine.pid}/mem`, 'r+');
    try {
      for (const { kind, bytes } of this.#records()) {
        if (kind === kinds.deviceState) writeExactly(machine.deviceState, bytes, 0);
        else if (kind === kinds.scratch) restoreScratch(machine, bytes);
        else restorePages({ memory, address, pages: machine.memoryBytes / pageBytes }, bytes, kind === kinds.zeros);
      }
    } finally {
      closeSync(memory);
    }
    return this.#reader.header;
  }

  *#records(): Generator<SealedRecord, void, void> {
    for (let record = this.#ahead.shift(); record !== undefined; record = this.#ahead.shift()) yield record;
    for (let next = this.#rest.next(); next.done !== true; next = this.#rest.next()) yield next.value;
  }
}

function restoreScratch({ scratch, scratchBytes }: MachineParts, record: Buffer): void {
  const offset = Number(record.readBigUInt64BE());
  const data = record.subarray(8);
  if (offset + data.length > scratchBytes) throw new RangeError('the snapshot holds more disk than the machine has');
  writeExactly(scratch, data, offset);
}

function restorePages(
  to: { readonly memory: number; readonly address: number; readonly pages: number },
  record: Buffer,
  zero: boolean,
): void {
  const count = record.readUInt32BE();
  let at = 4 + count * runBytes;
  for (let i = 0; i < count; i++) {
    const first = record.readUInt32BE(4 + i * runBytes);
    const pages = record.readUInt32BE(8 + i * runBytes);
    if (first + pages > to.pages) throw new RangeError('the snapshot holds more memory than the machine has');
    const length = pages * pageBytes;
    if (zero) {
      for (let done = 0; done < length; done += zeros.length) {
        const piece = zeros.subarray(0, Math.min(zeros.length, length - done));
        writeExactly(to.memory, piece, to.address + first * pageBytes + done);
      }
      continue;
    }
    writeExactly(to.memory, record.subarray(at, at + length), to.address + first * pageBytes);
    at += length;
  }
}
