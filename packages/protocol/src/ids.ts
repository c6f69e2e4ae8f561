import { z } from 'zod';

/** Every id in the system is `<prefix>_<26 characters>`: made, checked and branded here and nowhere else. */
export const idPrefixes = {
  tenant: 'ten',
  session: 'ses',
  turn: 'trn',
  machine: 'mch',
  snapshot: 'snp',
  template: 'tpl',
  image: 'img',
  key: 'key',
  port: 'prt',
  request: 'req',
  decision: 'dec',
  approval: 'apr',
} as const;
export type IdKind = keyof typeof idPrefixes;

declare const idBrand: unique symbol;
export type Id<Kind extends IdKind> = string & { readonly [idBrand]: Kind };
export type TenantId = Id<'tenant'>;
export type SessionId = Id<'session'>;
export type TurnId = Id<'turn'>;
export type MachineId = Id<'machine'>;
export type SnapshotId = Id<'snapshot'>;
export type TemplateId = Id<'template'>;
export type ImageId = Id<'image'>;
/** An API key: this names it, and is no secret. */
export type KeyId = Id<'key'>;
/** A port of a session that is reachable through the server. */
export type PortId = Id<'port'>;
export type RequestId = Id<'request'>;
export type DecisionId = Id<'decision'>;
/** A call of a tool that waits for a person. */
export type ApprovalId = Id<'approval'>;

// Crockford base 32 in lower case: no i, l, o, u, so that ids survive being read aloud and are valid host names.
const alphabet = '0123456789abcdefghjkmnpqrstvwxyz';
const bodyLength = 26;

/** A new id from 128 random bits. */
export function makeId<Kind extends IdKind>(kind: Kind): Id<Kind> {
  const bytes = crypto.getRandomValues(new Uint8Array(bodyLength));
  let body = '';
  for (const byte of bytes) body += alphabet[byte & 31];
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- here, and in parseId, is where the brand is given
  return `${idPrefixes[kind]}_${body}` as Id<Kind>;
}

/** The id when `text` has the exact form of that kind, otherwise undefined. */
export function parseId<Kind extends IdKind>(kind: Kind, text: string): Id<Kind> | undefined {
  if (!new RegExp(`^${idPrefixes[kind]}_[${alphabet}]{${bodyLength}}$`).test(text)) return undefined;
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- it has just been checked
  return text as Id<Kind>;
}

/** A zod schema for the ids of one kind. */
export function idSchema<Kind extends IdKind>(kind: Kind): z.ZodType<Id<Kind>, string> {
  const pattern = new RegExp(`^${idPrefixes[kind]}_[${alphabet}]{${bodyLength}}$`);
  const text = z.string().regex(pattern, { message: `expected an id like ${idPrefixes[kind]}_…` });
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the brand is given to what the pattern accepts
  return text as unknown as z.ZodType<Id<Kind>, string>;
}
