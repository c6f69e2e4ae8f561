// A secret on its way into a request to what is behind a tool. It is put there on the host, and looked for in what comes back: a service that repeats
// what it was sent would tell the guest.

import { BulkheadError, type HttpCredential } from '@bulkhead/protocol';

export interface OpenCredential {
  readonly headers: Readonly<Record<string, string>>;
  /** Percent-encoded, for the end of a query. */
  readonly query?: string;
  /** Whether something has the secret in it, in a form that it was sent in or is easily read from. */
  isIn(text: string | Buffer): boolean;
  /** The longest form that is looked for, in bytes: what is read in parts has to overlap by this. */
  readonly formMaxBytes: number;
}

export const noCredential: OpenCredential = { headers: {}, isIn: () => false, formMaxBytes: 0 };

/** What is shorter than this is in everything. */
const recognisedMinLength = 8;

/** Errors: `state_conflict` for a secret that no header can have, those of `secret`. */
export async function openCredential(
  credential: HttpCredential | undefined,
  secret: (name: string) => Promise<string>,
): Promise<OpenCredential> {
  if (credential === undefined) return noCredential;
  const value = await secret(credential.secret);
  const basic = credential.in === 'basic' ? Buffer.from(`${credential.user}:${value}`).toString('base64') : '';
  const escaped = JSON.stringify(value).slice(1, -1);
  const forms = [
    ...new Set([value, basic, escaped, escaped.replaceAll('/', String.raw`\/`), encodeURIComponent(value)]),
  ].filter((form) => form.length >= recognisedMinLength);
  return {
    ...place(credential, value, basic),
    isIn: (text) => forms.some((form) => text.includes(form)),
    formMaxBytes: Math.max(0, ...forms.map((form) => Buffer.byteLength(form))),
  };
}

function place(
  credential: HttpCredential,
  value: string,
  basic: string,
): Pick<OpenCredential, 'headers'> & { readonly query?: string } {
  if (credential.in === 'query') return { headers: {}, query: `${credential.name}=${encodeURIComponent(value)}` };
  if (credential.in === 'basic') return { headers: { authorization: `Basic ${basic}` } };
  if (!/^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/.test(value)) {
    throw new BulkheadError('state_conflict', `The secret ${credential.secret} cannot be sent in a header.`, {
      hint: 'It has to be printable ASCII, in one line.',
    });
  }
  return credential.in === 'bearer'
    ? { headers: { authorization: `Bearer ${value}` } }
    : { headers: { [credential.name.toLowerCase()]: value } };
}

/** Errors: `tool_failed`. */
export function refuseEcho(credential: OpenCredential, text: string | Buffer): void {
  if (!credential.isIn(text)) return;
  throw new BulkheadError('tool_failed', 'The answer holds the credential that it was asked with.', {
    hint: 'An operator has to look at what the service answers.',
  });
}
