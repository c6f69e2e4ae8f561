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
import { dataExtents } from '../../lib/host-calls.ts';
import { isOwnerAlive, processMark } from '../../lib/owner.ts';
import {
  type MachineMemory,
  type TemplatePages,
  countPages,
  isZero,
  restorePages,
  writePages,
} from './page-records.ts';
import { findMemory, findTouchedPages } from './touched-pages.ts';

const deviceStateMaxBytes = 1024 * 1024;
/** The name of the sealed memory that machines map. */
export const templateMemoryName = 'bulkhead-template';

/** Beside `pageKinds`. `scratch`: a u64 offset on the disk, then the bytes there. */
const kinds = { deviceState: 1, scratch: 4 } as const;

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
  readonly template: TemplatePages;
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
  const pages = capturePages(machine, job.template, writer);
  return { ...writer.finish(), pages, scratchBytes };
}

/** The guest's memory in a VMM that runs. */
interface VmmMemory extends MachineMemory {
  /** Throws when the process has ended since it was found: its number may be another's, whose memory we had then. */
  readonly check: () => void;
}

function findVmmMemory({ pid, memoryBytes }: MachineParts): VmmMemory {
  const mark = processMark(pid);
  const address = findMemory(readFileSync(`/proc/${pid}/maps`, 'utf8'), templateMemoryName, memoryBytes);
  const check = (): void => {
    if (!isOwnerAlive(mark)) throw new Error('QEMU ended meanwhile');
  };
  return { pid, address, bytes: memoryBytes, check };
}

/** Answers with how many there were. */
function capturePages(machine: MachineParts, template: TemplatePages, writer: SealedWriter): number {
  const memory = findVmmMemory(machine);
  const { pid, address, bytes, check } = memory;
  const pagemap = openSync(`/proc/${pid}/pagemap`, 'r');
  try {
    const runs = findTouchedPages(pagemap, address, bytes);
    writePages(writer, memory, runs, template);
    check();
    return countPages(runs);
  } finally {
    closeSync(pagemap);
  }
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

/** What holds only zeros is left out. */
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
    const memory = findVmmMemory(machine);
    for (const { kind, bytes } of this.#records()) {
      if (kind === kinds.deviceState) writeExactly(machine.deviceState, bytes, 0);
      else if (kind === kinds.scratch) restoreScratch(machine, bytes);
      else restorePages(kind, bytes, memory);
    }
    memory.check();
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
