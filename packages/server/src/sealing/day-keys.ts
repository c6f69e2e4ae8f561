// The keys that what turns were given and told is sealed with: one for each tenant and day, each wrapped in a file of its own. When the retention of a day is
// over its key is destroyed, and with it whatever is left of that day in the files, the logs and the backups of a database.
//
// A file is `<tenant>.<day>.<host>.key`: a host makes only keys of its own, and reads those of the others where they share the directory.

import { randomBytes } from 'node:crypto';
import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type TenantId, parseId } from '@bulkhead/protocol';
import type { Clock } from '../lib/clock.ts';
import { destroySecret, readSecret, writeSecret } from '../lib/key-file.ts';
import { type KeyEncryption, keyUnavailable } from '../snapshots/key-encryption.ts';
import { type SealedFor, openText, sealText } from './sealed-text.ts';

export interface DayKeysOptions {
  readonly directory: string;
  /** The id of this host: letters, digits and dashes. */
  readonly host: string;
  readonly encryption: KeyEncryption;
  readonly clock: Clock;
}

export interface DayKey {
  readonly tenant: TenantId;
  readonly name: string;
  /** When its day ends. */
  readonly endsAtUnixMs: number;
}

const keyBytes = 32;
const wrappedMaxBytes = 16_384;
/** Keys that are open at once; more are unwrapped again when they are needed. */
const openMaxCount = 1000;
const dayMs = 86_400_000;
const temporaryPattern = /^\.\d+-\d+\.[0-9a-f]{16}$/;
const namePattern = /^(\d{4}-\d{2}-\d{2})\.([0-9A-Za-z-]{1,64})$/;

export class DayKeys {
  readonly #options: DayKeysOptions;
  readonly #open = new Map<string, Promise<Buffer>>();

  constructor(options: DayKeysOptions) {
    this.#options = options;
  }

  /** Whether a key has been kept in the directory. */
  static async holdsAny(directory: string): Promise<boolean> {
    return (await readdir(directory).catch(() => [])).some((name) => name.endsWith('.key'));
  }

  /** The name of the key that a tenant's texts are sealed with today. */
  today(): string {
    return `${new Date(this.#options.clock.unixMs()).toISOString().slice(0, 10)}.${this.#options.host}`;
  }

  /** The key of this host is made when there is none. Errors: `key_unavailable`. */
  async seal(whom: SealedFor, text: string): Promise<Buffer> {
    return sealText(await this.#key(whom, true), whom, text);
  }

  /** Errors: `key_unavailable`. */
  async open(whom: SealedFor, sealed: Buffer): Promise<string> {
    return openText(await this.#key(whom, false), whom, sealed);
  }

  /** All that there are. Removes what writers that died left, and forgets what others destroyed. */
  async list(): Promise<readonly DayKey[]> {
    const { directory } = this.#options;
    const files = await readdir(directory).catch(() => []);
    const found: DayKey[] = [];
    for (const file of files) {
      const key = parseFile(file);
      if (key !== undefined) found.push(key);
      else if (temporaryPattern.test(file)) await this.#removeOld(join(directory, file));
    }
    const there = new Set(found.map(({ tenant, name }) => `${tenant}.${name}`));
    for (const id of this.#open.keys()) if (!there.has(id)) this.#forget(id);
    return found;
  }

  /** Overwrites it, then removes it; idempotent. Nothing that was sealed with it can be read from here on. */
  async destroy({ tenant, name }: Pick<DayKey, 'tenant' | 'name'>): Promise<void> {
    this.#forget(`${tenant}.${name}`);
    await destroySecret(this.#path(tenant, name));
  }

  /** A writer on another host, if it lives, is done by then. */
  async #removeOld(path: string): Promise<void> {
    const found = await stat(path).catch(() => undefined);
    if (found !== undefined && found.mtimeMs + dayMs < this.#options.clock.unixMs()) await rm(path, { force: true });
  }

  #path(tenant: string, name: string): string {
    return join(this.#options.directory, `${tenant}.${name}.key`);
  }

  #key({ tenant, sealedWith }: SealedFor, make: boolean): Promise<Buffer> {
    const id = `${tenant}.${sealedWith}`;
    const known = this.#open.get(id);
    this.#open.delete(id);
    const key = known ?? this.#load(tenant, sealedWith, make);
    // Last again: the one that was needed longest ago goes first.
    this.#open.set(id, key);
    key.catch(() => {
      if (this.#open.get(id) === key) this.#open.delete(id);
    });
    for (const oldest of this.#open.keys()) {
      if (this.#open.size <= openMaxCount) break;
      this.#forget(oldest);
    }
    return key;
  }

  async #load(tenant: string, name: string, make: boolean): Promise<Buffer> {
    if (parseId('tenant', tenant) === undefined || !namePattern.test(name)) throw gone();
    const { encryption, host } = this.#options;
    const context = { tenant, turns: name };
    const wrapped = await readSecret(this.#path(tenant, name), wrappedMaxBytes);
    if (wrapped !== undefined) return await encryption.unwrap(wrapped, context);
    if (!make || !name.endsWith(`.${host}`)) throw gone();
    const key = randomBytes(keyBytes);
    await writeSecret(this.#path(tenant, name), await encryption.wrap(key, context));
    return key;
  }

  /** Whoever waits for it already goes on before it is overwritten; whoever comes later reads it anew. */
  #forget(id: string): void {
    const key = this.#open.get(id);
    this.#open.delete(id);
    key?.then((bytes) => bytes.fill(0)).catch(() => undefined);
  }
}

function parseFile(file: string): DayKey | undefined {
  const [text = '', ...rest] = file.replace(/\.key$/, '').split('.');
  const tenant = parseId('tenant', text);
  const name = rest.join('.');
  const [, day] = namePattern.exec(name) ?? [];
  const beginsAtUnixMs = Date.parse(`${day}T00:00:00Z`);
  if (tenant === undefined || !file.endsWith('.key') || Number.isNaN(beginsAtUnixMs)) return undefined;
  return { tenant, name, endsAtUnixMs: beginsAtUnixMs + dayMs };
}

function gone(): Error {
  return keyUnavailable(
    'The key of this turn is not here: its retention is over, or another host has it.',
    'Ask the server that has the session, or have the servers share the directory of these keys (BULKHEAD_TURN_KEYS_DIR).',
  );
}
