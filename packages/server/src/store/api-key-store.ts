import { BulkheadError } from '@bulkhead/protocol';
import { type Selectable, sql } from 'kysely';
import type { Place } from '../lib/page.ts';
import type { Database, StoreTransaction } from './database.ts';
import type { Schema } from './schema.ts';
import { lockTenant, readTenant } from './tenant-row.ts';

export interface ApiKeyRow {
  readonly id: string;
  readonly tenant: string;
  readonly name: string;
  readonly subject: string;
  readonly scopes: readonly string[];
  readonly hash: Buffer;
  /** Of the secret before, until it ends. */
  readonly former: { readonly hash: Buffer; readonly untilUnixMs: number } | null;
  readonly createdAtUnixMs: number;
  readonly expiresAtUnixMs: number | null;
  readonly revokedAtUnixMs: number | null;
  readonly lastUsedAtUnixMs: number | null;
}

export type NewApiKey = Omit<ApiKeyRow, 'former' | 'revokedAtUnixMs' | 'lastUsedAtUnixMs'>;

export class ApiKeyStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** False when there is no such tenant. Errors: `quota_exceeded` when it has so many that can be used. */
  async insert(key: NewApiKey, maximum: number): Promise<boolean> {
    return await this.#database.transaction(key.tenant, async (transaction) => {
      await lockTenant(transaction, key.tenant);
      const tenant = await readTenant(transaction, key.tenant);
      if (tenant === undefined || tenant.deletedAtUnixMs !== null) return false;
      const { count } = await transaction
        .selectFrom('api_keys')
        .select(({ fn }) => fn.countAll<string>().as('count'))
        .where('tenant', '=', key.tenant)
        .where('revoked_at_unix_ms', 'is', null)
        .where((where) =>
          where.or([
            where('expires_at_unix_ms', 'is', null),
            where('expires_at_unix_ms', '>', String(key.createdAtUnixMs)),
          ]),
        )
        .executeTakeFirstOrThrow();
      if (Number(count) >= maximum) {
        throw new BulkheadError('quota_exceeded', `A tenant has at most ${maximum} keys that can be used.`, {
          hint: 'Revoke those that nobody uses.',
          details: { quota: 'keys', maximum },
        });
      }
      await insertKey(transaction, key);
      return true;
    });
  }

  /** Whose ever it is: who asks is not known yet. Asked, for a while, before every request. */
  async find(id: string): Promise<ApiKeyRow | undefined> {
    const [row] = await this.#database.query(sql<Selectable<Schema['api_keys']>>`SELECT * FROM find_key(${id})`);
    return row === undefined ? undefined : toRow(row);
  }

  async get(tenant: string, id: string): Promise<ApiKeyRow | undefined> {
    const row = await this.#database.transaction(tenant, (transaction) =>
      transaction
        .selectFrom('api_keys')
        .selectAll()
        .where('tenant', '=', tenant)
        .where('id', '=', id)
        .executeTakeFirst(),
    );
    return row === undefined ? undefined : toRow(row);
  }

  /** Oldest first. */
  async page(
    tenant: string,
    { after, limit }: { readonly after?: Place; readonly limit: number },
  ): Promise<readonly ApiKeyRow[]> {
    const rows = await this.#database.transaction(tenant, (transaction) => {
      const all = transaction.selectFrom('api_keys').selectAll().where('tenant', '=', tenant);
      const rest =
        after === undefined ? all : all.where(sql<boolean>`(created_at_unix_ms, id) > (${after.unixMs}, ${after.id})`);
      return rest.orderBy('created_at_unix_ms').orderBy('id').limit(limit).execute();
    });
    return rows.map(toRow);
  }

  /**
   * A new secret for a key that can be used; the one before works until then. A second rotation ends the first one's grace. Undefined when it cannot be used,
   * or its secret is not `from` any more.
   */
  async rotate(
    { tenant, id, hash: from }: Pick<ApiKeyRow, 'tenant' | 'id' | 'hash'>,
    to: Buffer,
    formerUntilUnixMs: number,
  ): Promise<ApiKeyRow | undefined> {
    const row = await this.#database.transaction(tenant, (transaction) =>
      transaction
        .updateTable('api_keys')
        .set({ hash: to, former_hash: from, former_until_unix_ms: formerUntilUnixMs })
        .where('tenant', '=', tenant)
        .where('id', '=', id)
        .where('hash', '=', from)
        .where('revoked_at_unix_ms', 'is', null)
        .returningAll()
        .executeTakeFirst(),
    );
    return row === undefined ? undefined : toRow(row);
  }

  /** Idempotent: the first time counts. */
  async revoke(tenant: string, id: string, unixMs: number): Promise<ApiKeyRow | undefined> {
    const row = await this.#database.transaction(tenant, (transaction) =>
      transaction
        .updateTable('api_keys')
        .set({ revoked_at_unix_ms: sql`coalesce(revoked_at_unix_ms, ${unixMs})`, former_hash: null })
        .where('tenant', '=', tenant)
        .where('id', '=', id)
        .returningAll()
        .executeTakeFirst(),
    );
    return row === undefined ? undefined : toRow(row);
  }

  async used(tenant: string, id: string, unixMs: number): Promise<void> {
    await this.#database.transaction(tenant, (transaction) =>
      transaction
        .updateTable('api_keys')
        .set({ last_used_at_unix_ms: unixMs })
        .where('tenant', '=', tenant)
        .where('id', '=', id)
        .execute(),
    );
  }

  /** Every key of a tenant that is gone. */
  async removeOf(tenant: string): Promise<void> {
    await this.#database.transaction(tenant, (transaction) =>
      transaction.deleteFrom('api_keys').where('tenant', '=', tenant).execute(),
    );
  }
}

export async function insertKey(transaction: StoreTransaction, key: NewApiKey): Promise<void> {
  await transaction
    .insertInto('api_keys')
    .values({
      id: key.id,
      tenant: key.tenant,
      name: key.name,
      subject: key.subject,
      scopes: [...key.scopes],
      hash: key.hash,
      former_hash: null,
      former_until_unix_ms: null,
      created_at_unix_ms: key.createdAtUnixMs,
      expires_at_unix_ms: key.expiresAtUnixMs,
      revoked_at_unix_ms: null,
      last_used_at_unix_ms: null,
    })
    .execute();
}

function toRow(row: Selectable<Schema['api_keys']>): ApiKeyRow {
  const { id, tenant, name, subject, scopes, hash, former_hash: formerHash, former_until_unix_ms: until } = row;
  const former = formerHash === null || until === null ? null : { hash: formerHash, untilUnixMs: Number(until) };
  return {
    id,
    tenant,
    name,
    subject,
    scopes,
    hash,
    former,
    createdAtUnixMs: Number(row.created_at_unix_ms),
    expiresAtUnixMs: moment(row.expires_at_unix_ms),
    revokedAtUnixMs: moment(row.revoked_at_unix_ms),
    lastUsedAtUnixMs: moment(row.last_used_at_unix_ms),
  };
}

function moment(text: string | null): number | null {
  return text === null ? null : Number(text);
}
