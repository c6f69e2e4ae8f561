// What an API key looks like: `bh_<body of its id>_<32 random bytes><checksum>`. The prefix and the checksum are for scanners that look for lost secrets, and
// tell a typing error from a wrong key without asking the database. What is kept is a SHA-256: the bytes are random, so nothing slower is needed.

import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { type KeyId, idPrefixes, parseId } from '@bulkhead/protocol';

const secretBytes = 32;
const pattern = /^bh_([0-9a-z]{26})_[A-Za-z0-9_-]{43}([A-Za-z0-9_-]{6})$/;
const checksumLength = 6;

export interface KeySecret {
  readonly id: KeyId;
  readonly hash: Buffer;
}

/** A new secret for a key. */
export function makeSecret(id: KeyId): { readonly secret: string; readonly hash: Buffer } {
  const text = `bh_${id.slice(idPrefixes.key.length + 1)}_${randomBytes(secretBytes).toString('base64url')}`;
  const secret = text + checksum(text);
  return { secret, hash: hashOf(secret) };
}

/** Undefined for what cannot be one. */
export function parseSecret(secret: string): KeySecret | undefined {
  const [, body, sum] = pattern.exec(secret) ?? [];
  if (body === undefined || sum !== checksum(secret.slice(0, -checksumLength))) return undefined;
  const id = parseId('key', `${idPrefixes.key}_${body}`);
  return id === undefined ? undefined : { id, hash: hashOf(secret) };
}

/** In a time that does not tell where they differ. */
export function sameHash(one: Buffer, other: Buffer): boolean {
  return one.length === other.length && timingSafeEqual(one, other);
}

function hashOf(secret: string): Buffer {
  return createHash('sha256').update(secret).digest();
}

function checksum(text: string): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(crc32(text));
  return bytes.toString('base64url');
}
