// What a tenant may have, counted in the statement that gives it more, under the tenant's lock: on all servers of one database nobody gets past it. What
// is wanted is written first and counted with the rest; whoever is refused is rolled back.

import { BulkheadError, type Quotas, tiers } from '@bulkhead/protocol';
import { type RawBuilder, sql } from 'kysely';
import type { Database } from './database.ts';
import { leaseLost } from './lease.ts';
import { sessionChanged } from './step.ts';

type Counted = Pick<Quotas, 'sessions' | 'machines' | 'memoryMib' | 'diskMib'>;

/** As the functions of the database say it. */
type Refusal =
  | { readonly why: 'lease lost' | 'session changed' }
  | { readonly why: 'no tenant'; readonly tenant: string }
  | { readonly why: 'tier'; readonly tier: string; readonly minimumTier: string }
  | { readonly why: 'quota'; readonly quota: keyof Counted; readonly maximum: number };

/** From the weakest on. */
export const tierStrengths: readonly string[] = tiers.toReversed();

/**
 * `call` is one of a function that keeps something or says why it does not. Errors: `quota_exceeded`; `not_found` when there is no such tenant any more;
 * `host_unsupported` when it wants a stronger tier; `state_conflict`, `store_unavailable`.
 */
export async function keepAdmitted(database: Database, call: RawBuilder<unknown>): Promise<void> {
  const [row] = await database.query(sql<{ readonly refusal: Refusal | null }>`SELECT ${call} AS refusal`);
  if (row === undefined) throw new TypeError('a function has an answer');
  if (row.refusal !== null) throw refusalError(row.refusal);
}

function refusalError(refusal: Refusal): BulkheadError {
  switch (refusal.why) {
    case 'lease lost':
      return leaseLost();
    case 'session changed':
      return sessionChanged();
    case 'no tenant':
      return new BulkheadError('not_found', `There is no tenant ${refusal.tenant}.`);
    case 'tier':
      return tooWeak(refusal);
    case 'quota':
      return quotaExceeded(refusal);
    default:
      return refusal satisfies never;
  }
}

function tooWeak({ tier, minimumTier }: { readonly tier: string; readonly minimumTier: string }): BulkheadError {
  return new BulkheadError('host_unsupported', `This host offers the tier ${tier}; the tenant wants ${minimumTier}.`, {
    hint: 'Use a host with a stronger tier, or have the minimum tier of the tenant lowered.',
    details: { tier, minimumTier },
  });
}

const quotaNames: Readonly<Record<keyof Counted, readonly [what: string, hint: string]>> = {
  sessions: ['sessions', 'Terminate sessions that are not needed, or have the quota raised.'],
  machines: ['sessions that are awake', 'Suspend or terminate sessions, or have the quota raised.'],
  memoryMib: ['MiB of memory', 'Suspend or terminate sessions, or have the quota raised.'],
  diskMib: ['MiB of scratch disk', 'Terminate sessions that are not needed, or have the quota raised.'],
};

function quotaExceeded({ quota, maximum }: { readonly quota: keyof Counted; readonly maximum: number }): BulkheadError {
  const [what, hint] = quotaNames[quota];
  return new BulkheadError('quota_exceeded', `The tenant may have ${maximum} ${what}.`, {
    hint,
    details: { quota, maximum },
  });
}
