import { BulkheadError } from '@bulkhead/protocol';
import { type Selectable, sql } from 'kysely';
import type { Place } from '../lib/page.ts';
import { type NewApiKey, insertKey } from './api-key-store.ts';
import { type Database, type StoreTransaction, everyTenant } from './database.ts';
import type { Schema } from './schema.ts';
import { type TenantRow, lockTenant, readTenant, toTenantRow } from './tenant-row.ts';

export type NewTenant = Omit<TenantRow, 'version' | 'deletedAtUnixMs'>;

export interface KnownTenant extends TenantRow {
  readonly disabledSubjects: readonly string[];
}

type FoundTenant = Selectable<Schema['tenants']> & Pick<Selectable<Schema['authority']>, 'disabled_subjects'>;

export class TenantStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** False when the name is taken. */
  async insert(tenant: NewTenant): Promise<boolean> {
    return await this.#database.transaction(tenant.id, (transaction) => insertTenant(transaction, tenant));
  }

  /** The tenant, when there is none yet; what is there stays. */
  async ensure(tenant: NewTenant): Promise<void> {
    await this.#database.transaction(tenant.id, async (transaction) => {
      await lockTenant(transaction, tenant.id);
      if ((await readTenant(transaction, tenant.id)) === undefined) await insertTenant(transaction, tenant);
    });
  }

  /** A tenant and its key where there has never been one but `besides`; once, however many servers ask at once. */
  async insertFirst(tenant: NewTenant, key: NewApiKey, besides: string): Promise<boolean> {
    return await this.#database.transaction(everyTenant, async (transaction) => {
      await lockTenant(transaction, everyTenant);
      const another = await transaction
        .selectFrom('tenants')
        .select('id')
        .where('id', '!=', besides)
        .limit(1)
        .executeTakeFirst();
      if (another !== undefined) return false;
      await insertTenant(transaction, tenant);
      await insertKey(transaction, key);
      return true;
    });
  }

  /** Also one that has been deleted. */
  async get(id: string): Promise<TenantRow | undefined> {
    return await this.#database.transaction(id, (transaction) => readTenant(transaction, id));
  }

  /** By its id, also one that has been deleted, or by the name of one that is there. Asked, for a while, before every request. */
  async find(idOrName: string): Promise<KnownTenant | undefined> {
    const isName = !idOrName.startsWith('ten_');
    const [row] = await this.#database.query(sql<FoundTenant>`SELECT * FROM find_tenant(${idOrName}, ${isName})`);
    return row === undefined ? undefined : { ...toTenantRow(row), disabledSubjects: row.disabled_subjects };
  }

  /** Oldest first. `deleted`: those that were deleted, too. */
  async page(options: {
    readonly after?: Place;
    readonly limit: number;
    readonly deleted?: boolean;
  }): Promise<readonly TenantRow[]> {
    const { after, limit, deleted = false } = options;
    const rows = await this.#database.transaction(everyTenant, (transaction) => {
      const all = transaction.selectFrom('tenants').selectAll();
      const chosen = deleted ? all : all.where('deleted_at_unix_ms', 'is', null);
      const rest =
        after === undefined
          ? chosen
          : chosen.where(sql<boolean>`(created_at_unix_ms, id) > (${after.unixMs}, ${after.id})`);
      return rest.orderBy('created_at_unix_ms').orderBy('id').limit(limit).execute();
    });
    return rows.map(toTenantRow);
  }

  /** At most so many of those that were deleted and have sessions on a host, or keys. */
  async deletedWithRemains(host: string, limit: number): Promise<readonly TenantRow[]> {
    const rows = await this.#database.transaction(everyTenant, (transaction) =>
      transaction
        .selectFrom('tenants')
        .selectAll()
        .where('deleted_at_unix_ms', 'is not', null)
        .where((query) =>
          query.or([
            query.exists(
              query
                .selectFrom('sessions')
                .select('sessions.id')
                .whereRef('sessions.tenant', '=', 'tenants.id')
                .where('sessions.host', '=', host),
            ),
            query.exists(
              query.selectFrom('api_keys').select('api_keys.id').whereRef('api_keys.tenant', '=', 'tenants.id'),
            ),
          ]),
        )
        .limit(limit)
        .execute(),
    );
    return rows.map(toTenantRow);
  }

  /** What `change` makes of it. Undefined when there is none. Errors: `precondition_failed`, those of `change`. */
  async update(
    id: string,
    expectedVersion: number | undefined,
    change: (before: TenantRow) => Pick<TenantRow, 'quotas' | 'minimumTier' | 'retentionDays'>,
  ): Promise<TenantRow | undefined> {
    return await this.#database.transaction(id, async (transaction) => {
      await lockTenant(transaction, id);
      const before = await readTenant(transaction, id);
      if (before === undefined || before.deletedAtUnixMs !== null) return undefined;
      checkVersion(before, expectedVersion);
      const { quotas, minimumTier, retentionDays } = change(before);
      const version = before.version + 1;
      await transaction
        .updateTable('tenants')
        .set({
          version: String(version),
          quotas: JSON.stringify(quotas),
          minimum_tier: minimumTier,
          retention_days: retentionDays,
        })
        .where('id', '=', id)
        .execute();
      return { ...before, version, quotas, minimumTier, retentionDays };
    });
  }

  /** From here on no session is made for it, and none of its keys is known. Idempotent; false when there never was one. Errors: `precondition_failed`. */
  async markDeleted(id: string, expectedVersion: number | undefined, unixMs: number): Promise<boolean> {
    return await this.#database.transaction(id, async (transaction) => {
      await lockTenant(transaction, id);
      const before = await readTenant(transaction, id);
      if (before === undefined) return false;
      if (before.deletedAtUnixMs !== null) return true;
      checkVersion(before, expectedVersion);
      await transaction
        .updateTable('tenants')
        .set({ version: String(before.version + 1), deleted_at_unix_ms: unixMs })
        .where('id', '=', id)
        .execute();
      return true;
    });
  }
}

async function insertTenant(transaction: StoreTransaction, tenant: NewTenant): Promise<boolean> {
  const { numInsertedOrUpdatedRows: inserted = 0n } = await transaction
    .insertInto('tenants')
    .values({
      id: tenant.id,
      name: tenant.name,
      version: 1,
      quotas: JSON.stringify(tenant.quotas),
      minimum_tier: tenant.minimumTier,
      retention_days: tenant.retentionDays,
      created_at_unix_ms: tenant.createdAtUnixMs,
      deleted_at_unix_ms: null,
    })
    .onConflict((conflict) => conflict.column('name').where('deleted_at_unix_ms', 'is', null).doNothing())
    .executeTakeFirst();
  return inserted > 0n;
}

function checkVersion({ version }: TenantRow, expected: number | undefined): void {
  if (expected === undefined || expected === version) return;
  throw new BulkheadError('precondition_failed', `The tenant is at version ${version}, not ${expected}.`, {
    hint: 'Read it again and decide again.',
    details: { version },
  });
}
