// A file with a secret that is to be read back: nobody else may have written it, and nobody else may read it.

import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { BulkheadError } from '@bulkhead/protocol';
import { errnoOf } from './errno.ts';

const sizeMaxBytes = 65_536;

/** Undefined when there is none. Errors: `config_invalid` for one that somebody else could have written, or can read. */
export async function readOwnerFile(path: string): Promise<string | undefined> {
  try {
    await using file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const { uid, mode, size } = await file.stat();
    if (uid !== process.geteuid?.()) throw unsafe(path, 'it belongs to somebody else');
    if ((mode & constants.S_IFMT) !== constants.S_IFREG || size > sizeMaxBytes)
      throw unsafe(path, 'it is not one of ours');
    if ((mode & 0o077) !== 0) throw unsafe(path, 'others may read it');
    return await file.readFile('utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined;
    if (errnoOf(error) === 'ELOOP') throw unsafe(path, 'it is a link');
    throw error;
  }
}

function unsafe(path: string, why: string): BulkheadError {
  return new BulkheadError('config_invalid', `${path} is not used: ${why}.`, {
    hint: 'Remove it.',
    details: { path },
  });
}
