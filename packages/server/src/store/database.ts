// A connection to PostgreSQL whose every transaction says whose rows it works with.

import { Kysely, PostgresDialect, type Transaction, sql } from 'kysely';
import { Migrator } from 'kysely/migration';
import { Pool, type PoolConfig } from 'pg';
import { type Schema, migrations } from './schema.ts';
import { queryError } from './store-errors.ts';

export type StoreTransaction = Transaction<Schema>;

/** Not a tenant's: work of the operator, over all of them. */
export const everyTenant = '*';

const poolOptions: PoolConfig = {
  max: 8,
  connectionTimeoutMillis: 5000,
  query_timeout: 30_000,
  statement_timeout: 30_000,
  idle_in_transaction_session_timeout: 30_000,
};

export class Database implements AsyncDisposable {
  readonly #kysely: Kysely<Schema>;

  private constructor(kysely: Kysely<Schema>) {
    this.#kysely = kysely;
  }

  /** Brings the tables up to date. Errors: `store_unavailable`; `internal` when another version of Bulkhead has gone further. */
  static async open(connection: PoolConfig): Promise<Database> {
    const pool = new Pool({ ...poolOptions, ...connection });
    // A connection that breaks, used or not: its query fails, the next one opens another.
    pool.on('error', () => undefined);
    pool.on('connect', (client) => client.on('error', () => undefined));
    const kysely = new Kysely<Schema>({ dialect: new PostgresDialect({ pool }) });
    try {
      const migrator = new Migrator({
        db: kysely,
        provider: { getMigrations: () => Promise.resolve({ ...migrations }) },
      });
      const { error } = await migrator.migrateToLatest();
      if (error !== undefined) throw error;
    } catch (error) {
      await kysely.destroy().catch(() => undefined);
      throw queryError(error);
    }
    return new Database(kysely);
  }

  /** All of `work` or nothing. It sees the rows of one tenant. Errors: `store_unavailable`, `internal`, those of `work`. */
  async transaction<T>(tenant: string, work: (transaction: StoreTransaction) => Promise<T>): Promise<T> {
    try {
      return await this.#kysely.transaction().execute(async (transaction) => {
        await sql`SELECT set_config('bulkhead.tenant', ${tenant}, true)`.execute(transaction);
        return await work(transaction);
      });
    } catch (error) {
      throw queryError(error);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#kysely.destroy();
  }
}
