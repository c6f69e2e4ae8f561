import { BulkheadError, type IssuedKey, type KeyResource, type TenantId, roleNames, scopes } from '@bulkhead/protocol';
import { localTenant } from '@bulkhead/server';
import type { NewKey } from '../administration.ts';
import type { CommandContext, CommandInput } from '../command.ts';
import { parseCount, parseExpiry, parseIdOf, parseOneOf } from '../parse-values.ts';
import { type Verb, type VerbCall, runVerb } from '../verbs.ts';

const ofKey = (act: Verb['act']): Verb => ({
  takes: [1, 1],
  wants: 'the id of a key',
  check: ([id]) => void parseIdOf('key', id),
  act,
  show: line,
});

const verbs: Readonly<Record<string, Verb>> = {
  create: { takes: [1, 1], wants: 'a name', act: create, show: line },
  list: {
    takes: [0, 0],
    wants: 'nothing more',
    act: async (call) => await call.backend.administration.listKeys(await tenantOf(call)),
    show: (answer) => (answer as readonly KeyResource[]).map(line), // oxlint-disable-line typescript/no-unsafe-type-assertion -- what `act` answers
  },
  show: ofKey(async (call) => await call.backend.administration.getKey(await tenantOf(call), idOf(call))),
  rotate: ofKey(rotate),
  revoke: ofKey(async (call) => await call.backend.administration.revokeKey(await tenantOf(call), idOf(call))),
};

export async function key(context: CommandContext, input: CommandInput): Promise<number> {
  rightsOf(input);
  expiryOf(input);
  return await runVerb({ name: 'key', verbs }, context, input);
}

async function create(call: VerbCall): Promise<unknown> {
  const { backend, input, args } = call;
  const subject = input.text('subject');
  const rights = rightsOf(input);
  if (rights === undefined) {
    throw new BulkheadError('invalid_request', 'What may the key do?', {
      hint: `--role: ${roleNames.join(', ')}. --scope: ${scopes.join(', ')}.`,
    });
  }
  return await backend.administration.createKey(await tenantOf(call), {
    name: args[0] ?? '',
    ...rights,
    ...expiryOf(input),
    ...(subject === undefined ? {} : { subject }),
  });
}

async function rotate(call: VerbCall): Promise<unknown> {
  const grace = call.input.text('grace');
  const graceSeconds = grace === undefined ? undefined : parseCount('grace', grace);
  return await call.backend.administration.rotateKey(await tenantOf(call), idOf(call), graceSeconds);
}

function idOf({ args }: VerbCall): KeyResource['id'] {
  return parseIdOf('key', args[0]);
}

/** The one that is named, or the caller's own. Errors: `invalid_request`. */
async function tenantOf({ backend, input }: VerbCall): Promise<TenantId> {
  const named = input.text('tenant');
  if (named !== undefined) return parseIdOf('tenant', named);
  const { tenant } = await backend.administration.whoami();
  if (tenant !== localTenant) return tenant;
  throw new BulkheadError('invalid_request', 'Keys of which tenant? This host’s own has none.', {
    hint: 'Say --tenant ID; `bulkhead tenant list` shows them.',
    details: { field: 'tenant' },
  });
}

/** Errors: `invalid_request`. */
function rightsOf(input: CommandInput): Pick<NewKey, 'role' | 'scopes'> | undefined {
  const [role, given] = [input.text('role'), input.texts('scope')];
  if (role !== undefined && given.length > 0) {
    throw new BulkheadError('invalid_request', 'A key has a role or scopes, not both.');
  }
  if (role !== undefined) return { role: parseOneOf('role', role, roleNames) };
  return given.length === 0 ? undefined : { scopes: given.map((scope) => parseOneOf('scope', scope, scopes)) };
}

/** Errors: `invalid_request`. */
function expiryOf(input: CommandInput): Pick<NewKey, 'expiresAt'> {
  const text = input.text('expires');
  return text === undefined ? {} : { expiresAt: parseExpiry(text, Date.now()) };
}

/** A key for people. */
function line(answer: unknown): unknown {
  const { id, name, subject, scopes: granted, ...rest } = answer as KeyResource & Partial<Pick<IssuedKey, 'secret'>>; // oxlint-disable-line typescript/no-unsafe-type-assertion -- what `act` answers
  return {
    ...(rest.secret === undefined ? {} : { secret: rest.secret }),
    id,
    name,
    subject,
    scopes: granted.join(' '),
    expires: rest.revokedAt === null ? (rest.expiresAt ?? 'never') : `revoked ${rest.revokedAt}`,
    lastUsed: rest.lastUsedAt ?? 'never',
  };
}
