import { type Quotas, limits } from '@bulkhead/protocol';
import { type Selectable, sql } from 'kysely';
import type { StoreTransaction } from './database.ts';
import type { Schema } from './schema.ts';

export interface TenantRow {
  readonly id: string;
  readonly name: string;
  readonly version: number;
  readonly quotas: Quotas;
  readonly minimumTier: string | null;
  readonly retentionDays: number;
  readonly createdAtUnixMs: number;
  readonly deletedAtUnixMs: number | null;
}

export const unbounded: Quotas = {
  sessions: limits.quotaMaximum,
  machines: limits.quotaMaximum,
  memoryMib: limits.quotaMaximum,
  diskMib: limits.quotaMaximum,
  requestsPerSecond: limits.quotaMaximum,
};

/** One at a time, on all servers: whatever changes how much a tenant has, or what it may have. Ends with the transaction. */
export async function lockTenant(transaction: StoreTransaction, tenant: string): Promise<void> {
  await sql`SELECT pg_advisory_xact_lock(hashtextextended(${tenant}, 1))`.execute(transaction);
}

export async function readTenant(transaction: StoreTransaction, tenant: string): Promise<TenantRow | undefined> {
  const row = await transaction.selectFrom('tenants').selectAll().where('id', '=', tenant).executeTakeFirst();
  return row === undefined ? undefined : toTenantRow(row);
}

export function toTenantRow(row: Selectable<Schema['tenants']>): TenantRow {
  const { id, name, quotas, minimum_tier: minimumTier, retention_days: retentionDays } = row;
  return {
    id,
    name,
    version: Number(row.version),
    quotas: { ...unbounded, ...quotas },
    minimumTier,
    retentionDays,
    createdAtUnixMs: Number(row.created_at_unix_ms),
    deletedAtUnixMs: row.deleted_at_unix_ms === null ? null : Number(row.deleted_at_unix_ms),
  };
}
