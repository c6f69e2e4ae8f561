// Files of this host, to and from a session: where there is Node.

import { randomBytes } from 'node:crypto';
import { openAsBlob } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { BulkheadError } from '@bulkhead/protocol';
import { chunksOf } from './content.ts';
import type { FileWritten } from './files.ts';
import type { CallOptions } from './options.ts';
import type { Session } from './session.ts';

/** Sends a file, read as it is sent. Errors: `invalid_request` for one that cannot be read, and those of `files.write`. */
export async function uploadFile(
  session: Session,
  localPath: string,
  path: string,
  options: CallOptions = {},
): Promise<FileWritten> {
  return await session.files.write(path, await openFile(localPath), options);
}

async function openFile(path: string): Promise<Blob> {
  try {
    return await openAsBlob(path);
  } catch (cause) {
    throw new BulkheadError('invalid_request', `${path} cannot be read.`, { cause, details: { path } });
  }
}

/** Fetches a file; it appears whole or not at all. The number of bytes. Errors: `limit_exceeded`, and those of `files.stream`. */
export async function downloadFile(
  session: Session,
  path: string,
  localPath: string,
  options: CallOptions & { readonly maxBytes?: number } = {},
): Promise<number> {
  const { maxBytes = Number.POSITIVE_INFINITY, ...call } = options;
  const part = `${localPath}.${randomBytes(6).toString('hex')}.part`;
  let bytes = 0;
  try {
    {
      await using file = await open(part, 'wx', 0o644);
      for await (const chunk of chunksOf(await session.files.stream(path, call))) {
        bytes += chunk.length;
        if (bytes > maxBytes) throw new BulkheadError('limit_exceeded', `${path} has more than ${maxBytes} bytes.`);
        await file.writeFile(chunk);
      }
    }
    await rename(part, localPath);
  } catch (error) {
    await rm(part, { force: true });
    throw error;
  }
  return bytes;
}
