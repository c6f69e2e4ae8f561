// The directory that holds what outlives a process: one process at a time has it.

import { closeSync, constants, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { BulkheadError } from '@bulkhead/protocol';
import { errnoOf } from '../lib/errno.ts';
import { tryLock } from '../lib/file-lock.ts';

const leftoverMaxMs = 10_000;
const retryMs = 20;

export interface DataDirectory extends Disposable {
  readonly path: string;
  /** Holds the lock. Who inherits it has the directory too: a database that outlives us keeps the next process out. */
  readonly lockFd: number;
}

/** Errors: `data_dir_busy`, which names the process. */
export async function openDataDirectory(path: string): Promise<DataDirectory> {
  await mkdir(path, { recursive: true, mode: 0o700 });
  // Not a `FileHandle`: one that nobody refers to any more is closed, and with it the lock is gone.
  const lockFd = openSync(join(path, 'lock'), constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
  try {
    await lock(lockFd, path);
    ftruncateSync(lockFd, 0);
    writeSync(lockFd, `${process.pid}\n`, 0);
  } catch (error) {
    closeSync(lockFd);
    throw error;
  }
  return { path, lockFd, [Symbol.dispose]: () => closeSync(lockFd) };
}

/** What a dead server started may take a moment to end: its database finishes what it writes. */
async function lock(fd: number, path: string): Promise<void> {
  const deadline = performance.now() + leftoverMaxMs;
  while (!tryLock(fd)) {
    const pid = holder(fd);
    if (pid === undefined || isAlive(pid) || performance.now() > deadline) throw busy(path, pid);
    await delay(retryMs);
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return errnoOf(error) !== 'ESRCH';
  }
}

function holder(fd: number): number | undefined {
  const written = Buffer.alloc(16);
  const pid = Number.parseInt(written.toString('ascii', 0, readSync(fd, written, 0, written.length, 0)), 10);
  return Number.isNaN(pid) ? undefined : pid;
}

function busy(path: string, pid: number | undefined): BulkheadError {
  const who = pid === undefined ? 'Another process' : `Process ${pid}`;
  return new BulkheadError('data_dir_busy', `${who} works with ${path}.`, {
    hint: 'Wait until it has ended, or set BULKHEAD_STATE_DIR to a directory of its own.',
    ...(pid === undefined ? {} : { details: { pid } }),
  });
}
