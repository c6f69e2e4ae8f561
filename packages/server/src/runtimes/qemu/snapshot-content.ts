// What a snapshot of a machine holds, as the records of a sealed file, and how it gets there and back: touched pages, device
// state, scratch disk. Runs in a worker thread and does not return to its event loop: see snapshot-thread.ts.

import { closeSync, fstatSync, openSync, readFileSync, readSync, writeSync } from 'node:fs';
import {
  type ExpectedHeader,
  SealedReader,
  type SealedRecord,
  SealedWriter,
  type SnapshotHeader,
  recordMaxBytes,
} from '../../snapshots/sealed-file.ts';
import { type MemoryRange, copyFromProcess, copyToProcess, dataExtents } from '../../lib/host-calls.ts';
import { isOwnerAlive, processMark } from '../../lib/owner.ts';
import { type PageRun, findMemory, findTouchedPages, pageBytes } from './touched-pages.ts';

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

/** What was written. */
export interface CaptureResult {
  readonly bytes: number;
  readonly pages: number;
  readonly scratchBytes: number;
}

export function capture(job: CaptureJob): CaptureResult {
  const { machine } = job;
  using writer = new SealedWriter(job.target, job.key, job.header);
  const state = readFileAt(machine.deviceState, deviceStateMaxBytes);
  writer.write(kinds.deviceState, state);
  const scratchBytes = captureScratch(machine, writer);
  const pages = capturePages(machine, writer);
  return { ...writer.finish(), pages, scratchBytes };
}

/** Where the guest's memory is in a VMM that runs. */
interface VmmMemory {
  readonly address: number;
  /** Throws when the process has ended since it was found: its number may be another's, whose memory we had then. */
  readonly check: () => void;
}

function findVmmMemory({ pid, memoryBytes }: MachineParts): VmmMemory {
  const mark = processMark(pid);
  const address = findMemory(readFileSync(`/proc/${pid}/maps`, 'utf8'), templateMemoryName, memoryBytes);
  const check = (): void => {
    if (!isOwnerAlive(mark)) throw new Error('QEMU ended meanwhile');
  };
  return { address, check };
}

/** Answers with how many there were. */
function capturePages(machine: MachineParts, writer: SealedWriter): number {
  const { pid, memoryBytes } = machine;
  const { address, check } = findVmmMemory(machine);
  const pagemap = openSync(`/proc/${pid}/pagemap`, 'r');
  try {
    const runs = findTouchedPages(pagemap, address, memoryBytes);
    const pageWriter = new PageWriter(writer, pid, address);
    for (const run of runs) pageWriter.add(run);
    pageWriter.end();
    check();
    return countPages(runs);
  } finally {
    closeSync(pagemap);
  }
}

function countPages(runs: readonly PageRun[]): number {
  return runs.reduce((sum, { count }) => sum + count, 0);
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
  let written = 0;
  for (const { offset, length } of dataExtents(scratch, scratchBytes)) {
    for (let at = offset; at < offset + length;) {
      const record = writer.space;
      const got = readSync(scratch, record, 8, Math.min(recordMaxBytes / 2, offset + length - at), at);
      if (got === 0) break;
      if (!isZero(record.subarray(8, 8 + got))) {
        record.writeBigUInt64BE(BigInt(at));
        writer.seal(kinds.scratch, 8 + got);
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

/** Puts a machine's pages into records; of those that hold only zeros no more than where they are. */
class PageWriter {
  readonly #writer: SealedWriter;
  readonly #pid: number;
  readonly #address: number;
  /** What the next record will hold. */
  #runs: PageRun[] = [];
  #pages = 0;
  #zeroRuns: PageRun[] = [];

  constructor(writer: SealedWriter, pid: number, address: number) {
    this.#writer = writer;
    this.#pid = pid;
    this.#address = address;
  }

  add({ first, count }: PageRun): void {
    for (let done = 0; done < count;) {
      const piece = Math.min(count - done, this.#room());
      if (piece > 0) {
        this.#runs.push({ first: first + done, count: piece });
        this.#pages += piece;
        done += piece;
      } else this.#flush();
    }
  }

  end(): void {
    this.#flush();
    const most = Math.floor((recordMaxBytes - 4) / runBytes);
    for (let at = 0; at < this.#zeroRuns.length; at += most) {
      this.#writer.write(kinds.zeros, encodeRuns(this.#zeroRuns.slice(at, at + most)));
    }
  }

  /** Pages that the record still takes, if they are one more run. */
  #room(): number {
    const head = 4 + runBytes * (this.#runs.length + 1);
    return Math.floor((recordMaxBytes - head) / pageBytes) - this.#pages;
  }

  /** Reads the pages to where they are sealed. */
  #flush(): void {
    if (this.#pages === 0) return;
    const head = encodeRuns(this.#runs);
    const record = this.#writer.space.subarray(0, head.length + this.#pages * pageBytes);
    const data = record.subarray(head.length);
    const ranges = this.#runs.map(({ first, count }) => ({
      address: this.#address + first * pageBytes,
      length: count * pageBytes,
    }));
    copyFromProcess(this.#pid, ranges, data);
    const held = this.#withoutZeros(data);
    if (held === undefined) {
      record.set(head);
      this.#writer.seal(kinds.pages, record.length);
    } else if (held.runs.length > 0) this.#writer.write(kinds.pages, encodeRuns(held.runs), ...held.pages);
    this.#runs = [];
    this.#pages = 0;
  }

  /** Undefined when every page holds something. */
  #withoutZeros(data: Buffer): { readonly runs: readonly PageRun[]; readonly pages: readonly Buffer[] } | undefined {
    const runs: { first: number; count: number }[] = [];
    const pages: Buffer[] = [];
    let at = 0;
    for (const { first, count } of this.#runs) {
      for (let page = first; page < first + count; page++, at += pageBytes) {
        if (isZeroPage(data, at)) extend(this.#zeroRuns, page);
        else {
          extend(runs, page);
          pages.push(data.subarray(at, at + pageBytes));
        }
      }
    }
    if (pages.length === this.#pages) return undefined;
    return { runs, pages: pages.map((page) => Buffer.from(page)) };
  }
}

/** Where nearly every page that holds something has a byte of it. */
const probes = [0, 8, 1024, 2048, 3072, pageBytes - 1] as const;

function isZeroPage(data: Buffer, at: number): boolean {
  for (const probe of probes) if (data[at + probe] !== 0) return false;
  return isZero(data.subarray(at, at + pageBytes));
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

function writeExactly(fd: number, bytes: Buffer, position: number): void {
  for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at, bytes.length - at, position + at);
}

/** So much of a snapshot is read before its machine is there. */
const aheadMaxBytes = 64 * 1024 * 1024;

/** A snapshot that is being read: what can be done with it while QEMU starts has been done. */
export class OpenedSnapshot implements Disposable {
  readonly #reader: SealedReader;
  readonly #rest: Iterator<SealedRecord, void, void>;
  readonly #ahead: SealedRecord[] = [];

  /** Errors: `snapshot_invalid`, `snapshot_incompatible`. */
  constructor({ source, key, expected }: OpenJob) {
    using opening = new DisposableStack();
    this.#reader = opening.use(SealedReader.open(source, key, expected));
    this.#rest = this.#reader.records();
    for (let bytes = 0; bytes < aheadMaxBytes;) {
      const { done, value } = this.#rest.next();
      if (done === true) break;
      this.#ahead.push(value);
      bytes += value.bytes.length;
    }
    opening.move();
  }

  /** Once. The machine may run only when this has returned: what was read before the end of the file is not yet known to be whole. */
  restore(machine: MachineParts): SnapshotHeader {
    using _ended = this.#reader;
    const { address, check } = findVmmMemory(machine);
    for (const { kind, bytes } of this.#records()) {
      if (kind === kinds.deviceState) writeExactly(machine.deviceState, bytes, 0);
      else if (kind === kinds.scratch) restoreScratch(machine, bytes);
      else restorePages(machine, address, bytes, kind === kinds.zeros);
    }
    check();
    return this.#reader.header;
  }

  [Symbol.dispose](): void {
    this.#reader[Symbol.dispose]();
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

function restorePages({ pid, memoryBytes }: MachineParts, address: number, record: Buffer, zero: boolean): void {
  const count = record.readUInt32BE();
  const ranges: MemoryRange[] = [];
  for (let i = 0; i < count; i++) {
    const offset = record.readUInt32BE(4 + i * runBytes) * pageBytes;
    const length = record.readUInt32BE(8 + i * runBytes) * pageBytes;
    if (offset + length > memoryBytes) throw new RangeError('the snapshot holds more memory than the machine has');
    ranges.push({ address: address + offset, length });
  }
  if (!zero) copyToProcess(pid, ranges, record.subarray(4 + count * runBytes));
  else for (const range of ranges) clear(pid, range);
}

function clear(pid: number, { address, length }: MemoryRange): void {
  for (let done = 0; done < length; done += zeros.length) {
    const piece = zeros.subarray(0, Math.min(zeros.length, length - done));
    copyToProcess(pid, [{ address: address + done, length: piece.length }], piece);
  }
}
