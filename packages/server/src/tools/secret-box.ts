// Secrets of tenants: what a tool needs to reach what is behind it. Sealed in the store with a key each, which the host's own key wraps; opened on the
// host, for a tool, and nowhere else. No answer, log or error has one.

import { randomBytes } from 'node:crypto';
import type { TenantId } from '@bulkhead/protocol';
import { openText, sealText } from '../sealing/sealed-text.ts';
import type { KeyEncryption } from '../snapshots/key-encryption.ts';

export interface SealedSecret {
  readonly wrappedKey: Buffer;
  readonly sealed: Buffer;
}

const keyBytes = 32;

/** Errors: `key_unavailable`. */
export async function sealSecret(
  encryption: KeyEncryption,
  tenant: TenantId,
  name: string,
  value: string,
): Promise<SealedSecret> {
  const key = randomBytes(keyBytes);
  try {
    const wrappedKey = await encryption.wrap(key, { tenant, secret: name });
    return { wrappedKey, sealed: sealText(key, sealedFor(tenant, name), value) };
  } finally {
    key.fill(0);
  }
}

/** Errors: `key_unavailable` for one that is damaged, or another tenant's, or was sealed under another name. */
export async function openSecret(
  encryption: KeyEncryption,
  tenant: TenantId,
  name: string,
  { wrappedKey, sealed }: SealedSecret,
): Promise<string> {
  const key = await encryption.unwrap(wrappedKey, { tenant, secret: name });
  try {
    return openText(key, sealedFor(tenant, name), sealed);
  } finally {
    key.fill(0);
  }
}

function sealedFor(tenant: TenantId, name: string): Parameters<typeof sealText>[1] {
  return { tenant, sealedWith: 'its own key', what: `secret ${name}` };
}
