// Whether this host has room for another machine. Looked at before each launch: a machine that is refused can be asked for again, a host
// whose memory or disk is full takes every session with it.

import { readFile, statfs } from 'node:fs/promises';
import { BulkheadError, type SizeName, sizes } from '@bulkhead/protocol';
import { parseMeminfo } from '../lib/meminfo.ts';

const mib = 1024 * 1024;
/** What a machine's process needs beside its guest's memory. */
export const overheadMib = 64;
/** What the host keeps for itself: of its memory, and of the disk with the scratch disks. */
export const reserveMib = 512;
/** What is full now may not be then: sessions end, and idle ones are suspended. */
const retryAfterMs = 30_000;

export interface HostRoom {
  readonly availableMemoryBytes: number;
  readonly freeDiskBytes: number;
}

/** `directory`: where scratch disks are. */
export async function readRoom(directory: string): Promise<HostRoom> {
  const [memory, { bavail, bsize }] = await Promise.all([readFile('/proc/meminfo', 'utf8'), statfs(directory)]);
  return { availableMemoryBytes: parseMeminfo(memory).get('MemAvailable') ?? 0, freeDiskBytes: bavail * bsize };
}

/** The machine may use all that its size gives it, now; what others have been given and not used may be used by anyone. Errors: `capacity_exhausted`. */
export function checkRoom({ availableMemoryBytes, freeDiskBytes }: HostRoom, size: SizeName): void {
  const memoryBytes = (sizes[size].memoryMib + overheadMib + reserveMib) * mib;
  if (availableMemoryBytes < memoryBytes) throw noRoom('memory', availableMemoryBytes, memoryBytes);
  if (freeDiskBytes < reserveMib * mib) throw noRoom('disk space', freeDiskBytes, reserveMib * mib);
}

function noRoom(what: string, availableBytes: number, neededBytes: number): BulkheadError {
  return new BulkheadError(
    'capacity_exhausted',
    `There is too little ${what} for another machine: ${inMib(availableBytes)}, and ${inMib(neededBytes)} are needed.`,
    {
      hint: `Try again in ${retryAfterMs / 1000} s, suspend or terminate sessions, or choose a smaller size.`,
      details: { retryAfterMs, availableBytes, neededBytes },
    },
  );
}

function inMib(bytes: number): string {
  return `${Math.floor(bytes / mib)} MiB`;
}
