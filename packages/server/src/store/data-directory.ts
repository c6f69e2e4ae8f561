// The directory that holds what outlives a process: one process at a time has it.

import { constants } from 'node:fs';
import { type FileHandle, mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { BulkheadError } from '@bulkhead/protocol';
import { tryLock } from '../lib/file-lock.ts';

export interface DataDirectory extends AsyncDisposable {
  readonly path: string;
  /** Holds the lock. Who inherits it has the directory too: a database that outlives us keeps the next process out. */
  readonly lockFd: number;
}

/** Errors: `data_dir_busy`, which names the process. */
export async function openDataDirectory(path: string): Promise<DataDirectory> {
  await mkdir(path, { recursive: true, mode: 0o700 });
  const file = await open(join(path, 'lock'), constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
  try {
    if (!tryLock(file.fd)) throw busy(path, await holder(file));
    await file.truncate(0);
    await file.write(`${process.pid}\n`, 0);
  } catch (error) {
    await file.close();
    throw error;
  }
  return { path, lockFd: file.fd, [Symbol.asyncDispose]: () => file.close() };
}

async function holder(file: FileHandle): Promise<number | undefined> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(16), 0, 16, 0);
  const pid = Number.parseInt(buffer.toString('ascii', 0, bytesRead), 10);
  return Number.isNaN(pid) ? undefined : pid;
}

function busy(path: string, pid: number | undefined): BulkheadError {
  const who = pid === undefined ? 'Another process' : `Process ${pid}`;
  return new BulkheadError('data_dir_busy', `${who} works with ${path}.`, {
    hint: 'Wait until it has ended, or set BULKHEAD_STATE_DIR to a directory of its own.',
    ...(pid === undefined ? {} : { details: { pid } }),
  });
}
