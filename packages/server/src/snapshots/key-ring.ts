// The keys of sessions, each wrapped in a file of its own: what ends with the session is a file that can be overwritten, not a row that
// a database keeps copies of. On file systems that never write in place, and on flash, overwriting is best effort: ADR 0008.

import { randomBytes } from 'node:crypto';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type SessionId, type TenantId, parseId } from '@bulkhead/protocol';
import { destroySecret, readSecret, writeSecret } from '../lib/key-file.ts';
import { isOwnerAlive } from '../lib/owner.ts';
import { type KeyEncryption, keyUnavailable } from './key-encryption.ts';

const keyBytes = 32;
const wrappedMaxBytes = 16_384;

/** A session's key, in the clear until it is disposed of. */
export interface OpenKey extends Disposable {
  readonly key: Uint8Array;
}

export class KeyRing {
  readonly #directory: string;
  readonly #encryption: KeyEncryption;

  constructor(directory: string, encryption: KeyEncryption) {
    this.#directory = directory;
    this.#encryption = encryption;
  }

  /** Whether a key has been kept in the directory. */
  static async holdsAny(directory: string): Promise<boolean> {
    const names = await readdir(directory).catch(() => []);
    return names.some((name) => name.endsWith('.key'));
  }

  /** The session's key, made when there is none. Errors: `key_unavailable`. */
  async ensure(tenant: TenantId, session: SessionId): Promise<OpenKey> {
    const wrapped = await this.#read(session);
    if (wrapped !== undefined) return await this.#unwrap(wrapped, tenant, session);
    const key = randomBytes(keyBytes);
    await writeSecret(this.#path(session), await this.#encryption.wrap(key, { tenant, session }));
    return openKey(key);
  }

  /** Errors: `key_unavailable`. */
  async open(tenant: TenantId, session: SessionId): Promise<OpenKey> {
    const wrapped = await this.#read(session);
    if (wrapped === undefined) {
      throw keyUnavailable(
        'The key of this session is not here any more.',
        'Its snapshots cannot be read; terminate it.',
      );
    }
    return await this.#unwrap(wrapped, tenant, session);
  }

  async #unwrap(wrapped: Buffer, tenant: TenantId, session: SessionId): Promise<OpenKey> {
    return openKey(await this.#encryption.unwrap(wrapped, { tenant, session }));
  }

  /** Overwrites it, then removes it; idempotent. */
  async destroy(session: SessionId): Promise<void> {
    await destroySecret(this.#path(session));
  }

  /** The sessions that have a key. Removes what writers that died left. */
  async list(): Promise<readonly SessionId[]> {
    const names = await readdir(this.#directory).catch(() => []);
    const found: SessionId[] = [];
    for (const name of names) {
      const session = parseId('session', name.replace(/\.key$/, ''));
      if (session !== undefined) found.push(session);
      else if (!isOwnerAlive(name.slice(1))) await rm(join(this.#directory, name), { force: true });
    }
    return found;
  }

  #path(session: SessionId): string {
    return join(this.#directory, `${session}.key`);
  }

  async #read(session: SessionId): Promise<Buffer | undefined> {
    try {
      return await readSecret(this.#path(session), wrappedMaxBytes);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw keyUnavailable('The key of this session is damaged.', 'Terminate the session.', error);
    }
  }
}

function openKey(key: Buffer): OpenKey {
  return { key, [Symbol.dispose]: () => void key.fill(0) };
}
