import { BulkheadError } from '@bulkhead/protocol';
import { sql } from 'kysely';
import type { Database, StoreTransaction } from './database.ts';
import { lockTenant, readTenant } from './tenant-row.ts';

export interface ToolRow {
  readonly name: string;
  readonly settings: unknown;
}

export interface SecretRow {
  readonly name: string;
  readonly wrappedKey: Buffer;
  readonly sealed: Buffer;
  readonly changedAtUnixMs: number;
}

/** All that a tenant has set up; version 0 when that is nothing. */
export interface AuthorityRows {
  readonly tenantName: string;
  readonly version: number;
  readonly policies: string;
  readonly tools: readonly ToolRow[];
  readonly secrets: readonly SecretRow[];
  readonly disabledSubjects: readonly string[];
}

/** What a change makes of it; what is not named stays. Null removes. */
export interface AuthorityChange {
  readonly policies?: string;
  readonly tool?: { readonly name: string; readonly settings: unknown };
  readonly secret?: { readonly name: string; readonly value: Omit<SecretRow, 'name'> | null };
  readonly subject?: { readonly name: string; readonly disabled: boolean };
}

export class AuthorityStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Asked before every call of a tool. */
  async version(tenant: string): Promise<number> {
    const [row] = await this.#database.query(
      sql<{ readonly version: string }>`SELECT authority_version(${tenant}) AS version`,
    );
    return Number(row?.version ?? 0);
  }

  /** Of one moment. Errors: `not_found` for a tenant that is none, or no more. */
  async read(tenant: string): Promise<AuthorityRows> {
    return await this.#database.transaction(tenant, async (transaction) => {
      // Nobody changes it between two of these queries.
      await lockTenant(transaction, tenant);
      return await readAll(transaction, tenant);
    });
  }

  /** `check` sees what it would be, and throws to refuse it. Errors: `not_found`, `precondition_failed`, those of `check`. */
  async change(
    tenant: string,
    expectedVersion: number | undefined,
    change: AuthorityChange,
    check: (after: AuthorityRows) => void,
  ): Promise<AuthorityRows> {
    return await this.#database.transaction(tenant, async (transaction) => {
      await lockTenant(transaction, tenant);
      const { version } = await readAll(transaction, tenant);
      if (expectedVersion !== undefined && expectedVersion !== version) {
        throw new BulkheadError('precondition_failed', `This is at version ${version}, not ${expectedVersion}.`, {
          hint: 'Read it again and decide again.',
          details: { version },
        });
      }
      await write(transaction, tenant, version + 1, change);
      const after = await readAll(transaction, tenant);
      check(after);
      return after;
    });
  }
}

async function readAll(transaction: StoreTransaction, tenant: string): Promise<AuthorityRows> {
  const known = await readTenant(transaction, tenant);
  if (known === undefined || known.deletedAtUnixMs !== null) {
    throw new BulkheadError('not_found', `There is no tenant ${tenant}.`);
  }
  const authority = await transaction
    .selectFrom('authority')
    .selectAll()
    .where('tenant', '=', tenant)
    .executeTakeFirst();
  const tools = await transaction
    .selectFrom('tools')
    .select(['name', 'settings'])
    .where('tenant', '=', tenant)
    .orderBy('name')
    .execute();
  const secrets = await transaction
    .selectFrom('secrets')
    .selectAll()
    .where('tenant', '=', tenant)
    .orderBy('name')
    .execute();
  return {
    tenantName: known.name,
    version: Number(authority?.version ?? 0),
    policies: authority?.policies ?? '',
    disabledSubjects: authority?.disabled_subjects ?? [],
    tools,
    secrets: secrets.map((row) => ({
      name: row.name,
      wrappedKey: row.wrapped_key,
      sealed: row.sealed,
      changedAtUnixMs: Number(row.changed_at_unix_ms),
    })),
  };
}

async function write(
  transaction: StoreTransaction,
  tenant: string,
  version: number,
  { policies, tool, secret, subject }: AuthorityChange,
): Promise<void> {
  await transaction
    .insertInto('authority')
    .values({ tenant, version, policies: policies ?? '' })
    .onConflict((conflict) =>
      conflict
        .column('tenant')
        .doUpdateSet({ version: String(version), ...(policies === undefined ? {} : { policies }) }),
    )
    .execute();
  if (tool !== undefined) {
    const { name } = tool;
    await transaction.deleteFrom('tools').where('tenant', '=', tenant).where('name', '=', name).execute();
    if (tool.settings !== null) {
      const settings = JSON.stringify(tool.settings);
      await transaction.insertInto('tools').values({ tenant, name, settings }).execute();
    }
  }
  if (subject !== undefined) {
    const { name, disabled } = subject;
    const without = sql<readonly string[]>`array_remove(disabled_subjects, ${name})`;
    await transaction
      .updateTable('authority')
      .set({ disabled_subjects: disabled ? sql<readonly string[]>`array_append(${without}, ${name}::text)` : without })
      .where('tenant', '=', tenant)
      .execute();
  }
  if (secret !== undefined) {
    const { name, value } = secret;
    await transaction.deleteFrom('secrets').where('tenant', '=', tenant).where('name', '=', name).execute();
    if (value !== null) {
      const { wrappedKey, sealed, changedAtUnixMs } = value;
      const row = { tenant, name, wrapped_key: wrappedKey, sealed, changed_at_unix_ms: changedAtUnixMs };
      await transaction.insertInto('secrets').values(row).execute();
    }
  }
}
