import { type Quotas, type TenantResource, limits } from '@bulkhead/protocol';
import type { TenantSettings } from '../administration.ts';
import type { CommandContext, CommandInput } from '../command.ts';
import { parseCount, parseIdOf, parseTier } from '../parse-values.ts';
import { type Verb, type VerbCall, runVerb } from '../verbs.ts';

const anId = 'the id of a tenant';
const ofTenant = (act: Verb['act'], show?: Verb['show']): Verb => ({
  takes: [1, 1],
  wants: anId,
  check: ([id]) => void parseIdOf('tenant', id),
  act,
  ...(show === undefined ? {} : { show }),
});

const verbs: Readonly<Record<string, Verb>> = {
  create: {
    takes: [1, 1],
    wants: 'a name',
    act: async ({ backend, input, args: [name = ''] }) =>
      await backend.administration.createTenant(name, settingsOf(input)),
    show: line,
  },
  list: {
    takes: [0, 0],
    wants: 'nothing more',
    act: async ({ backend }) => await backend.administration.listTenants(),
    show: (answer) => (answer as readonly TenantResource[]).map(line), // oxlint-disable-line typescript/no-unsafe-type-assertion -- what `act` answers
  },
  show: ofTenant(async (call) => await call.backend.administration.getTenant(idOf(call)), line),
  update: ofTenant(
    async (call) => await call.backend.administration.updateTenant(idOf(call), settingsOf(call.input)),
    line,
  ),
  delete: ofTenant(async (call) => {
    const id = idOf(call);
    await call.backend.administration.deleteTenant(id);
    return { deleted: id };
  }),
};

export async function tenant(context: CommandContext, input: CommandInput): Promise<number> {
  settingsOf(input);
  return await runVerb({ name: 'tenant', verbs }, context, input);
}

function idOf({ args }: VerbCall): TenantResource['id'] {
  return parseIdOf('tenant', args[0]);
}

const quotaOptions = {
  sessions: 'sessions',
  machines: 'machines',
  memory: 'memoryMib',
  disk: 'diskMib',
  rate: 'requestsPerSecond',
} as const satisfies Readonly<Record<string, keyof Quotas>>;

/** Errors: `invalid_request`. */
function settingsOf(input: CommandInput): TenantSettings {
  const quotas: { -readonly [quota in keyof Quotas]?: number } = {};
  for (const [option, quota] of Object.entries(quotaOptions)) {
    const text = input.text(option);
    if (text !== undefined) quotas[quota] = text === 'unlimited' ? limits.quotaMaximum : parseCount(option, text);
  }
  const [tier, retention] = [input.text('minimum-tier'), input.text('retention')];
  return {
    ...(Object.keys(quotas).length === 0 ? {} : { quotas }),
    ...(tier === undefined ? {} : { minimumTier: parseTier(tier) }),
    ...(retention === undefined ? {} : { retentionDays: parseCount('retention', retention) }),
  };
}

/** A tenant for people: what can be said on a line. */
function line(answer: unknown): unknown {
  const { id, name, quotas, minimumTier, retentionDays, createdAt } = answer as TenantResource; // oxlint-disable-line typescript/no-unsafe-type-assertion -- what `act` answers
  const told = Object.entries(quotas).map(([quota, most]) => [
    quota,
    most === limits.quotaMaximum ? 'unlimited' : most,
  ]);
  return { id, name, ...Object.fromEntries(told), minimumTier: minimumTier ?? 'none', retentionDays, createdAt };
}
