// The few calls of the C library that Node does not offer: sealed memory, sparse files, another process's memory, and the processor's time stamp counter.

import koffi from 'koffi';

const libc = koffi.load(null);
const processMemoryArguments =
  'int pid, const void *local, uint64_t localCount, const void *remote, uint64_t remoteCount, uint64_t flags';
const memfdCreate = libc.func('int memfd_create(const char *name, unsigned int flags)');
const fcntl = libc.func('int fcntl(int fd, int command, ...)');
const lseek = libc.func('int64_t lseek(int fd, int64_t offset, int whence)');
const sendfile = libc.func('int64_t sendfile(int out, int in, _Inout_ int64_t *offset, size_t count)');
const sendfileInPool = (...args: readonly unknown[]): Promise<unknown> =>
  new Promise((resolve, reject) => {
    sendfile.async(...args, (error: unknown, copied: unknown) => (error === null ? resolve(copied) : reject(error)));
  });
const readv = libc.func(`int64_t process_vm_readv(${processMemoryArguments})`);
const writev = libc.func(`int64_t process_vm_writev(${processMemoryArguments})`);
const mmap = libc.func('void *mmap(void *address, size_t length, int protection, int flags, int fd, int64_t offset)');
const mprotect = libc.func('int mprotect(void *address, size_t length, int protection)');
const munmap = libc.func('int munmap(void *address, size_t length)');

const MFD_ALLOW_SEALING = 2;
const F_ADD_SEALS = 1033;
const F_SEAL_SIZE = 0x2 | 0x4; // SHRINK, GROW
const F_SEAL_ALL = 0x1 | F_SEAL_SIZE | 0x8; // SEAL, WRITE
const SEEK_SET = 0;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;

function failed(call: string): Error {
  return new Error(`${call} failed with errno ${koffi.errno()}`);
}

/** An anonymous file in memory that can be sealed. The descriptor is inheritable. */
export function createMemory(name: string): number {
  const fd = Number(memfdCreate(name, MFD_ALLOW_SEALING));
  if (fd < 0) throw failed('memfd_create');
  return fd;
}

/** From here on the memory keeps its size. */
export function sealMemorySize(fd: number): void {
  if (Number(fcntl(fd, F_ADD_SEALS, 'int', F_SEAL_SIZE)) !== 0) throw failed('fcntl(F_ADD_SEALS)');
}

/** From here on nobody can write to the memory, resize it or take the seals off; private mappings stay possible. */
export function sealMemory(fd: number): void {
  if (Number(fcntl(fd, F_ADD_SEALS, 'int', F_SEAL_ALL)) !== 0) throw failed('fcntl(F_ADD_SEALS)');
}

/** Back to the start: for everyone who shares the descriptor's position. */
export function rewind(fd: number): void {
  if (Number(lseek(fd, 0, SEEK_SET)) !== 0) throw failed('lseek');
}

export interface Extent {
  readonly offset: number;
  readonly length: number;
}

/** Where a sparse file has data, in order. */
export function dataExtents(fd: number, size: number): Extent[] {
  const extents: Extent[] = [];
  let offset = 0;
  while (offset < size) {
    const start = Number(lseek(fd, offset, SEEK_DATA));
    if (start < 0) break; // ENXIO: nothing but a hole follows
    const end = Math.min(Number(lseek(fd, start, SEEK_HOLE)), size);
    extents.push({ offset: start, length: end - start });
    offset = end;
  }
  return extents;
}

/** A piece of another process's memory. */
export interface MemoryRange {
  readonly address: number;
  /** In bytes. */
  readonly length: number;
}

/** As many pieces as one call takes: IOV_MAX of limits.h. */
const rangesMaxCount = 1024;
const ioVectorBytes = 16;

/** Fills `bytes` from another process's memory, piece after piece. Throws where it has no memory there, or we may not read it. */
export function copyFromProcess(pid: number, ranges: readonly MemoryRange[], bytes: Uint8Array): void {
  copyProcessMemory(readv, 'process_vm_readv', pid, ranges, bytes);
}

/** Puts `bytes` into another process's memory, piece after piece. Throws as `copyFromProcess`; some of it may be there then. */
export function copyToProcess(pid: number, ranges: readonly MemoryRange[], bytes: Uint8Array): void {
  copyProcessMemory(writev, 'process_vm_writev', pid, ranges, bytes);
}

function copyProcessMemory(
  call: typeof readv,
  name: string,
  pid: number,
  ranges: readonly MemoryRange[],
  bytes: Uint8Array,
): void {
  const local = Buffer.alloc(ioVectorBytes);
  const remote = Buffer.alloc(ioVectorBytes * Math.min(ranges.length, rangesMaxCount));
  let done = 0;
  for (let from = 0; from < ranges.length; from += rangesMaxCount) {
    const part = ranges.slice(from, from + rangesMaxCount);
    for (const [i, range] of part.entries()) setVector(remote, i, range);
    const length = part.reduce((sum, range) => sum + range.length, 0);
    if (done + length > bytes.length) throw new RangeError('there are fewer bytes than the pieces have');
    setVector(local, 0, { address: Number(koffi.address(bytes)) + done, length });
    const copied = Number(call(pid, local, 1, remote, part.length, 0));
    if (copied < 0) throw failed(name);
    if (copied !== length) throw new Error('the memory of the process ended early');
    done += length;
  }
}

/** A `struct iovec`: process_vm_readv(2). */
function setVector(vectors: Buffer, index: number, { address, length }: MemoryRange): void {
  vectors.writeBigUInt64LE(BigInt(address), index * ioVectorBytes);
  vectors.writeBigUInt64LE(BigInt(length), index * ioVectorBytes + 8);
}

/** A shorter piece is copied before another thread could have taken it over. */
const shortBytes = 128 * 1024;

/**
 * Copies the data of a sparse file of `size` bytes into another, which has nothing but holes there: within the kernel, and what takes
 * long in a thread of the pool. `to` is the caller's alone meanwhile, its position too. Answers with where there is data.
 */
export async function copyData(from: number, to: number, size: number): Promise<readonly Extent[]> {
  const extents = dataExtents(from, size);
  for (const { offset, length } of extents) {
    if (Number(lseek(to, offset, SEEK_SET)) !== offset) throw failed('lseek');
    for (let done = 0; done < length;) {
      const position = [offset + done];
      const wanted = length - done;
      const copied =
        wanted > shortBytes ? await sendfileInPool(to, from, position, wanted) : sendfile(to, from, position, wanted);
      if (Number(copied) < 0) throw failed('sendfile');
      if (Number(copied) === 0) throw new Error('the file ended early');
      done += Number(copied);
    }
  }
  return extents;
}

/**
 * Kilohertz of the time stamp counter, measured over `windowMs` to a few parts in a million; undefined where it cannot be read.
 * An emulated guest sees the host's counter, and calibrates it against an emulated timer so badly on a busy host that it
 * may not boot at all: we tell it instead.
 */
export async function measureTscKhz(windowMs = 120): Promise<number | undefined> {
  if (process.arch !== 'x64') return undefined;
  const page: unknown = mmap(null, 4096, 3, 0x22, -1, 0);
  try {
    koffi.encode(page, 'uint8_t[10]', [0x0f, 0x31, 0x48, 0xc1, 0xe2, 0x20, 0x48, 0x09, 0xd0, 0xc3]); // rdtsc; shl; or; ret
    if (mprotect(page, 4096, 5) !== 0) return undefined; // hosts that forbid executable memory
    const readCounter: () => number | bigint = koffi.decode(page, koffi.proto('uint64_t readCounter()'));
    const sample = (): { readonly ns: bigint; readonly ticks: bigint } => {
      let best = { width: 1n << 62n, ns: 0n, ticks: 0n };
      for (let i = 0; i < 50; i++) {
        const before = process.hrtime.bigint();
        const ticks = BigInt(readCounter());
        const after = process.hrtime.bigint();
        if (after - before < best.width) best = { width: after - before, ns: (before + after) / 2n, ticks };
      }
      return best;
    };
    const first = sample();
    await new Promise((resolve) => setTimeout(resolve, windowMs));
    const last = sample();
    return Math.round((Number(last.ticks - first.ticks) * 1e6) / Number(last.ns - first.ns));
  } finally {
    munmap(page, 4096);
  }
}
