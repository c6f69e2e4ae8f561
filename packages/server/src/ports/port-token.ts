// The secret that opens one port. Only its hash is kept.

import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';

const secretBytes = 32;
const form = /^bhp_[A-Za-z0-9_-]{43}$/;

export function makePortToken(): { readonly token: string; readonly hash: Buffer } {
  const token = `bhp_${randomBytes(secretBytes).toString('base64url')}`;
  return { token, hash: hashOf(token) };
}

function hashOf(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}

const nobodys = Buffer.alloc(32);

/** Takes as long for a port that there is not: `hash` is undefined then. */
export function isPortToken(token: string, hash: Buffer | undefined): boolean {
  const given = form.test(token) ? hashOf(token) : nobodys;
  return timingSafeEqual(given, hash ?? randomBytes(32));
}
