// A small secret in a file of its own, that can be overwritten when it has to end. On file systems that never write in place, and on flash, overwriting is
// best effort: ADR 0008.

import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { mkdir, open, rename, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errnoOf } from './errno.ts';
import { ownerMark } from './owner.ts';
import { syncDirectory } from './sync-directory.ts';

/** Undefined when there is none. Errors: `RangeError` when it is longer than `maxBytes`. */
export async function readSecret(path: string, maxBytes: number): Promise<Buffer | undefined> {
  try {
    await using file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
    const { size } = await file.stat();
    if (size > maxBytes) throw new RangeError(`${path} has ${size} bytes`);
    return await file.readFile();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** All of it or nothing, and durable. */
export async function writeSecret(path: string, secret: Uint8Array): Promise<void> {
  const directory = dirname(path);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const temporary = join(directory, `.${ownerMark}.${randomBytes(8).toString('hex')}`);
  await using file = await open(temporary, 'wx', 0o600);
  await file.writeFile(secret);
  await file.sync();
  await rename(temporary, path);
  await syncDirectory(directory);
}

/** Overwrites it, then removes it; idempotent. */
export async function destroySecret(path: string): Promise<void> {
  try {
    await using file = await open(path, constants.O_WRONLY | constants.O_NOFOLLOW);
    const { size } = await file.stat();
    await file.write(randomBytes(size), 0, size, 0);
    await file.sync();
    await file.truncate(0);
    await unlink(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return;
    throw error;
  }
  await syncDirectory(dirname(path));
}
