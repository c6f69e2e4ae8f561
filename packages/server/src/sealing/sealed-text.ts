// Text that a database keeps and cannot read: AES-256-GCM, bound to whose it is, the key's name, and what it is.

import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { keyUnavailable } from '../snapshots/key-encryption.ts';

/** What a text is sealed for; it is opened only as the same. */
export interface SealedFor {
  readonly tenant: string;
  /** The name of the key. */
  readonly sealedWith: string;
  /** As `turn trn_… events 0`. */
  readonly what: string;
}

const version = 1;
const nonceBytes = 12;
const tagBytes = 16;

export function sealText(key: Uint8Array, whom: SealedFor, text: string): Buffer {
  const nonce = randomBytes(nonceBytes);
  const cipher = createCipheriv('aes-256-gcm', key, nonce);
  cipher.setAAD(context(whom));
  const sealed = cipher.update(text, 'utf8');
  cipher.final();
  return Buffer.concat([Buffer.of(version), nonce, sealed, cipher.getAuthTag()]);
}

/** Errors: `key_unavailable` when it is damaged, or was sealed with another key or for something else. */
export function openText(key: Uint8Array, whom: SealedFor, sealed: Buffer): string {
  try {
    if (sealed[0] !== version || sealed.length < 1 + nonceBytes + tagBytes) throw new RangeError('no sealed text');
    const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(1, 1 + nonceBytes), {
      authTagLength: tagBytes,
    });
    decipher.setAAD(context(whom));
    decipher.setAuthTag(sealed.subarray(-tagBytes));
    const opened = decipher.update(sealed.subarray(1 + nonceBytes, -tagBytes));
    decipher.final();
    return opened.toString('utf8');
  } catch (error) {
    throw keyUnavailable(
      'What is kept of this turn cannot be opened: it is damaged, or was sealed with another key.',
      'Put back the key file and the keys of turns that were there when it was written.',
      error,
    );
  }
}

function context({ tenant, sealedWith, what }: SealedFor): Buffer {
  return Buffer.from(JSON.stringify(['bulkhead sealed text', version, tenant, sealedWith, what]));
}
