import { sql } from 'kysely';
import { type Database, everyTenant } from './database.ts';
import type { Lease } from './lease.ts';

export interface IdempotencyKey {
  readonly tenant: string;
  readonly subject: string;
  readonly key: string;
}

export interface IdempotencyRow {
  readonly fingerprint: Buffer;
  /** `unknown`: it was begun, and nobody knows how it ended. */
  readonly state: 'running' | 'done' | 'unknown';
  /** While it runs: the server that does it holds its lease. */
  readonly held: boolean;
  /** It is this one. */
  readonly here: boolean;
  readonly sealedWith: string | null;
  /** Null where it was too long to keep. */
  readonly answer: Buffer | null;
}

export class IdempotencyStore {
  readonly #database: Database;
  readonly #lease: Lease;

  constructor(database: Database, lease: Lease) {
    this.#database = database;
    this.#lease = lease;
  }

  /** Undefined when the key is ours from here on; otherwise what there is. One that has expired is none. */
  async claim(
    { tenant, subject, key }: IdempotencyKey,
    fingerprint: Buffer,
    keptMs: number,
  ): Promise<IdempotencyRow | undefined> {
    return await this.#database.transaction(tenant, async (transaction) => {
      await transaction
        .deleteFrom('idempotency_keys')
        .where('tenant', '=', tenant)
        .where('subject', '=', subject)
        .where('key', '=', key)
        .where('expires_at', '<', sql<Date>`clock_timestamp()`)
        .execute();
      const { numInsertedOrUpdatedRows: inserted = 0n } = await transaction
        .insertInto('idempotency_keys')
        .values({
          tenant,
          subject,
          key,
          fingerprint,
          state: 'running',
          holder: this.#lease.name,
          holder_generation: this.#lease.generation,
          sealed_with: null,
          answer: null,
          expires_at: sql<Date>`clock_timestamp() + make_interval(secs => ${keptMs / 1000})`,
        })
        .onConflict((conflict) => conflict.columns(['tenant', 'subject', 'key']).doNothing())
        .executeTakeFirst();
      if (inserted > 0n) return undefined;
      const row = await transaction
        .selectFrom('idempotency_keys')
        .leftJoin('leases', (join) =>
          join
            .onRef('leases.name', '=', 'idempotency_keys.holder')
            .onRef('leases.generation', '=', 'idempotency_keys.holder_generation')
            .on('leases.expires_at', '>', sql<Date>`clock_timestamp()`),
        )
        .select(['fingerprint', 'state', 'leases.name as lease', 'sealed_with', 'answer'])
        .where('tenant', '=', tenant)
        .where('subject', '=', subject)
        .where('key', '=', key)
        .executeTakeFirst();
      // It was given up between the two: as good as running, for who asks again.
      if (row === undefined) {
        return { fingerprint, state: 'running', held: true, here: false, sealedWith: null, answer: null };
      }
      const { state, lease, sealed_with: sealedWith, answer } = row;
      const here = lease === this.#lease.name;
      return { fingerprint: row.fingerprint, state, held: lease !== null, here, sealedWith, answer };
    });
  }

  /** How the work that we hold ended. */
  async settle(
    { tenant, subject, key }: IdempotencyKey,
    state: 'done' | 'unknown',
    sealed: { readonly sealedWith: string; readonly answer: Buffer } | null,
  ): Promise<void> {
    await this.#database.transaction(tenant, (transaction) =>
      transaction
        .updateTable('idempotency_keys')
        .set({ state, sealed_with: sealed?.sealedWith ?? null, answer: sealed?.answer ?? null })
        .where('tenant', '=', tenant)
        .where('subject', '=', subject)
        .where('key', '=', key)
        .where('holder', '=', this.#lease.name)
        .where('holder_generation', '=', String(this.#lease.generation))
        .execute(),
    );
  }

  /** Nothing was done: the key is free again. */
  async giveUp({ tenant, subject, key }: IdempotencyKey): Promise<void> {
    await this.#database.transaction(tenant, (transaction) =>
      transaction
        .deleteFrom('idempotency_keys')
        .where('tenant', '=', tenant)
        .where('subject', '=', subject)
        .where('key', '=', key)
        .where('holder', '=', this.#lease.name)
        .where('holder_generation', '=', String(this.#lease.generation))
        .execute(),
    );
  }

  /** Removes at most so many of those that have expired. Answers how many. */
  async removeExpired(limit: number): Promise<number> {
    const { numDeletedRows } = await this.#database.transaction(everyTenant, (transaction) =>
      transaction
        .deleteFrom('idempotency_keys')
        .where(sql<boolean>`ctid = ANY (ARRAY(
          SELECT ctid FROM idempotency_keys WHERE expires_at < clock_timestamp() LIMIT ${limit}
        ))`)
        .executeTakeFirstOrThrow(),
    );
    return Number(numDeletedRows);
  }

  async removeOf(tenant: string): Promise<void> {
    await this.#database.transaction(tenant, (transaction) =>
      transaction.deleteFrom('idempotency_keys').where('tenant', '=', tenant).execute(),
    );
  }
}
