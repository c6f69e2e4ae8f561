// What wraps the keys of sessions: a key of this host's own in a file, or (the same interface) a key management service.

import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { mkdir, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { BulkheadError } from '@bulkhead/protocol';
import { errnoOf } from '../lib/errno.ts';
import { syncDirectory } from '../lib/sync-directory.ts';

/** What a wrapped key belongs to; it is unwrapped only for the same. */
export type KeyContext = Readonly<Record<string, string>>;

export interface KeyEncryption {
  wrap(key: Uint8Array, context: KeyContext): Promise<Buffer>;
  /** Errors: `key_unavailable`, also for a key that was wrapped for something else. */
  unwrap(wrapped: Uint8Array, context: KeyContext): Promise<Buffer>;
}

const keyBytes = 32;
const nonceBytes = 12;
const tagBytes = 16;

export function keyUnavailable(what: string, hint: string, cause?: unknown): BulkheadError {
  return new BulkheadError('key_unavailable', what, { hint, ...(cause === undefined ? {} : { cause }) });
}

/** AES-256-GCM with a key from a file of 32 bytes that only its owner may read. */
export class LocalKeyFile implements KeyEncryption {
  readonly #key: Buffer;

  private constructor(key: Buffer) {
    this.#key = key;
  }

  /**
   * `create`: when there is no file yet, and nothing that was wrapped with one. Errors: `key_unavailable` when the file is missing, a link, of the wrong
   * size, or open to others.
   */
  static async open(path: string, options: { readonly create: boolean }): Promise<LocalKeyFile> {
    if (options.create) await createKeyFile(path);
    return new LocalKeyFile(await readKeyFile(path));
  }

  async wrap(key: Uint8Array, context: KeyContext): Promise<Buffer> {
    const nonce = randomBytes(nonceBytes);
    const cipher = createCipheriv('aes-256-gcm', this.#key, nonce);
    cipher.setAAD(canonical(context));
    return Buffer.concat([nonce, cipher.update(key), cipher.final(), cipher.getAuthTag()]);
  }

  async unwrap(wrapped: Uint8Array, context: KeyContext): Promise<Buffer> {
    const bytes = Buffer.from(wrapped);
    try {
      if (bytes.length !== nonceBytes + keyBytes + tagBytes) throw new RangeError(`${bytes.length} bytes`);
      const decipher = createDecipheriv('aes-256-gcm', this.#key, bytes.subarray(0, nonceBytes));
      decipher.setAAD(canonical(context));
      decipher.setAuthTag(bytes.subarray(-tagBytes));
      return Buffer.concat([decipher.update(bytes.subarray(nonceBytes, -tagBytes)), decipher.final()]);
    } catch (error) {
      throw keyUnavailable(
        'The key of this session cannot be unwrapped: it was wrapped with another key, or for another session.',
        'Put back the key file that was there when the session was suspended.',
        error,
      );
    }
  }
}

function canonical(context: KeyContext): Buffer {
  return Buffer.from(JSON.stringify(Object.entries(context).toSorted(([a], [b]) => (a < b ? -1 : 1))));
}

async function createKeyFile(path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  try {
    await using file = await open(path, 'wx', 0o600);
    await file.writeFile(randomBytes(keyBytes));
    await file.sync();
    await syncDirectory(dirname(path));
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error;
  }
}

async function readKeyFile(path: string): Promise<Buffer> {
  const hint = `Put back the key file ${path}, 32 bytes that only its owner may read (mode 0600). Without it suspended sessions cannot be resumed.`;
  try {
    await using file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
    const { mode, uid, size } = await file.stat();
    if ((mode & 0o077) !== 0 || uid !== process.getuid?.()) {
      throw keyUnavailable('The key file is open to others, or somebody else owns it.', hint);
    }
    if (size !== keyBytes) throw keyUnavailable(`The key file has ${size} bytes, not ${keyBytes}.`, hint);
    return await file.readFile();
  } catch (error) {
    if (BulkheadError.is(error)) throw error;
    throw keyUnavailable('The key file cannot be read.', hint, error);
  }
}
