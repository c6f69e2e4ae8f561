// What a tenant may have, counted in the transaction that gives it more, under the tenant's lock: on all servers of one database nobody gets past it. What
// is wanted is written first and counted with the rest; whoever is refused is rolled back.

import { BulkheadError, type Quotas, tiers } from '@bulkhead/protocol';
import { sql } from 'kysely';
import type { StoreTransaction } from './database.ts';
import { type TenantRow, readTenant } from './tenant-row.ts';

interface Wanted {
  readonly tenant: string;
  readonly tier: string;
}

/** Errors: `not_found` when there is no such tenant any more; `host_unsupported` when it wants a stronger tier. */
export async function checkTenantTakes(transaction: StoreTransaction, wanted: readonly Wanted[]): Promise<TenantRow> {
  const [{ tenant: id } = { tenant: '' }] = wanted;
  const tenant = await readTenant(transaction, id);
  if (tenant === undefined || tenant.deletedAtUnixMs !== null) {
    throw new BulkheadError('not_found', `There is no tenant ${id}.`);
  }
  const { minimumTier } = tenant;
  const weak = wanted.find(({ tier }) => minimumTier !== null && strength(tier) < strength(minimumTier));
  if (weak === undefined) return tenant;
  throw new BulkheadError(
    'host_unsupported',
    `This host offers the tier ${weak.tier}; the tenant wants ${minimumTier}.`,
    {
      hint: 'Use a host with a stronger tier, or have the minimum tier of the tenant lowered.',
      details: { tier: weak.tier, minimumTier },
    },
  );
}

/** More is stronger; a word that we do not know is weaker than all. */
function strength(tier: string): number {
  const index = tiers.findIndex((known) => known === tier);
  return index === -1 ? -1 : tiers.length - index;
}

/** `create`: all of them. `wake`: those that a session which is there has more of when it has a machine. */
export async function checkQuotas(
  transaction: StoreTransaction,
  tenant: string,
  quotas: Quotas,
  why: 'create' | 'wake',
): Promise<void> {
  const { rows } = await sql<Readonly<Record<keyof Used, string>>>`
    SELECT count(*) AS sessions,
      coalesce(sum(scratch_mib), 0) AS "diskMib",
      count(*) FILTER (WHERE state <> 'suspended') AS machines,
      coalesce(sum(memory_mib) FILTER (WHERE state <> 'suspended'), 0) AS "memoryMib"
    FROM sessions
    WHERE tenant = ${tenant} AND state NOT IN ('terminated', 'failed')
  `.execute(transaction);
  const [used] = rows;
  if (used === undefined) throw new TypeError('a count has one row');
  const counted =
    why === 'create'
      ? (['sessions', 'machines', 'memoryMib', 'diskMib'] as const)
      : (['machines', 'memoryMib'] as const);
  const over = counted.find((quota) => Number(used[quota]) > quotas[quota]);
  if (over !== undefined) throw quotaExceeded(over, quotas[over]);
}

type Used = Pick<Quotas, 'sessions' | 'machines' | 'memoryMib' | 'diskMib'>;

const quotaNames: Readonly<Record<keyof Used, readonly [what: string, hint: string]>> = {
  sessions: ['sessions', 'Terminate sessions that are not needed, or have the quota raised.'],
  machines: ['sessions that are awake', 'Suspend or terminate sessions, or have the quota raised.'],
  memoryMib: ['MiB of memory', 'Suspend or terminate sessions, or have the quota raised.'],
  diskMib: ['MiB of scratch disk', 'Terminate sessions that are not needed, or have the quota raised.'],
};

function quotaExceeded(quota: keyof Used, maximum: number): BulkheadError {
  const [what, hint] = quotaNames[quota];
  return new BulkheadError('quota_exceeded', `The tenant may have ${maximum} ${what}.`, {
    hint,
    details: { quota, maximum },
  });
}
