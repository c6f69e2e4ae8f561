// Files to and from a session. Every local name comes from the command line; the guest names nothing on this host.

import { randomBytes } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { open, rename, rm, stat } from 'node:fs/promises';
import { basename, join, posix, resolve } from 'node:path';
import { BulkheadError } from '@bulkhead/protocol';
import type { CommandFiles } from './backend.ts';
import { localFileError } from './figures.ts';

export interface Transfer {
  readonly local: string;
  readonly guest: string;
}

/** A guest may answer a read without end. */
const downloadMaxBytes = 8 * 2 ** 30;

/** `LOCAL[:GUEST]`. A colon that belongs to the name of an existing file is one. Errors: `invalid_request`. */
export function parseUpload(text: string, workingDir: string): Transfer {
  const split = text.lastIndexOf(':');
  const whole = split === -1 || existsSync(resolve(workingDir, text));
  const local = whole ? text : text.slice(0, split);
  const guest = whole ? '' : text.slice(split + 1);
  if (local === '') throw new BulkheadError('invalid_request', `--file ${JSON.stringify(text)} names no local file.`);
  return { local: resolve(workingDir, local), guest: guest === '' ? basename(local) : guest };
}

/** `GUEST[:LOCAL]`. Errors: `invalid_request`. */
export function parseDownload(text: string, workingDir: string): Transfer {
  const split = text.lastIndexOf(':');
  const guest = split === -1 ? text : text.slice(0, split);
  const named = split === -1 ? '' : text.slice(split + 1);
  const local = named === '' ? posix.basename(guest) : named;
  if (guest === '' || local === '' || local === '..' || local === '.') {
    throw new BulkheadError('invalid_request', `--out ${JSON.stringify(text)} does not say which file goes where.`, {
      hint: 'Write it like report.html or /tmp/report.html:here.html.',
    });
  }
  return { local: resolve(workingDir, local), guest };
}

/** Fails before a machine is launched for files that are not there. Errors: `invalid_request`. */
export async function checkUpload({ local }: Transfer): Promise<void> {
  const found = await stat(local).catch((error: unknown) => {
    throw new BulkheadError('invalid_request', `${local} cannot be read.`, { cause: error, details: { path: local } });
  });
  if (!found.isFile()) {
    throw new BulkheadError('invalid_request', `${local} is not a file.`, {
      hint: 'Pack a folder with tar and unpack it in the session.',
      details: { path: local },
    });
  }
}

/** The number of bytes. Errors: `file_error`, `upload_incomplete`, `invalid_request`, and those of the guest. */
export async function upload(files: CommandFiles, transfer: Transfer, signal: AbortSignal): Promise<number> {
  await checkUpload(transfer);
  const { size } = await stat(transfer.local);
  // A file that grows meanwhile is sent as it was; one that shrinks is an upload that ended early.
  const content = size === 0 ? emptyContent() : createReadStream(transfer.local, { end: size - 1 });
  await files.writeFile(transfer.guest, content, size, { signal });
  return size;
}

async function* emptyContent(): AsyncGenerator<Uint8Array, void, void> {
  yield* [];
}

/** The number of bytes. The local file appears whole or not at all. Errors: `file_error`, `limit_exceeded`, `disk_full`. */
export async function download(files: CommandFiles, transfer: Transfer, signal: AbortSignal): Promise<number> {
  const local = await intoFolder(transfer);
  const part = `${local}.${randomBytes(6).toString('hex')}.part`;
  try {
    const bytes = await receive(files, transfer.guest, part, signal);
    await rename(part, local);
    return bytes;
  } catch (error) {
    await rm(part, { force: true });
    throw localFileError(local, error);
  }
}

async function receive(files: CommandFiles, path: string, part: string, signal: AbortSignal): Promise<number> {
  await using file = await open(part, 'wx', 0o644);
  let bytes = 0;
  for await (const chunk of files.readFile(path, { signal })) {
    bytes += chunk.length;
    if (bytes > downloadMaxBytes) {
      throw new BulkheadError('limit_exceeded', `${path} has more than ${downloadMaxBytes} bytes.`);
    }
    await file.writeFile(chunk);
  }
  return bytes;
}

async function intoFolder({ local, guest }: Transfer): Promise<string> {
  const found = await stat(local).catch(() => undefined);
  return found?.isDirectory() === true ? join(local, posix.basename(guest)) : local;
}
