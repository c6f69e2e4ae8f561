// Figures of a turn into files. The names are ours, never the guest's; nothing that exists is written over, and no link is followed.

import { constants } from 'node:fs';
import { mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { BulkheadError, type MimeBundle } from '@bulkhead/protocol';

const kinds = [
  { mime: 'image/png', extension: 'png', binary: true },
  { mime: 'image/svg+xml', extension: 'svg', binary: false },
  { mime: 'image/jpeg', extension: 'jpg', binary: true },
  { mime: 'application/pdf', extension: 'pdf', binary: true },
] as const;
const nameMaxCount = 10_000;

export class FigureFolder {
  readonly #folder: string;
  #next = 1;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** The path of the file that the bundle's picture was saved to; undefined when it has none. Errors: `disk_full`, `file_error`. */
  async save(bundle: MimeBundle): Promise<string | undefined> {
    for (const { mime, extension, binary } of kinds) {
      const data = bundle[mime];
      if (typeof data === 'string') return await this.#write(extension, Buffer.from(data, binary ? 'base64' : 'utf8'));
    }
    return undefined;
  }

  async #write(extension: string, bytes: Buffer): Promise<string> {
    await mkdir(this.#folder, { recursive: true });
    for (; this.#next < nameMaxCount; this.#next += 1) {
      const path = join(this.#folder, `figure-${this.#next}.${extension}`);
      try {
        await using file = await open(path, constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY, 0o644);
        await file.writeFile(bytes);
        this.#next += 1;
        return path;
      } catch (error) {
        if (!hasCode(error, 'EEXIST')) throw localFileError(path, error);
      }
    }
    throw new BulkheadError('file_error', `There are ${nameMaxCount} figures in ${this.#folder} already.`);
  }
}

export function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}

/** A failure of this host's file system as an error that says what to do. */
export function localFileError(path: string, error: unknown): BulkheadError {
  if (BulkheadError.is(error)) return error;
  if (hasCode(error, 'ENOSPC') || hasCode(error, 'EDQUOT')) {
    return new BulkheadError('disk_full', `There is no space left for ${path}.`, { cause: error });
  }
  const reason = error instanceof Error ? error.message : String(error);
  return new BulkheadError('file_error', `${path}: ${reason}`, { details: { path }, cause: error });
}
