// A connection to PostgreSQL whose every transaction says whose rows it works with.

import { BulkheadError } from '@bulkhead/protocol';
import { Kysely, PostgresDialect, type RawBuilder, type Transaction, sql } from 'kysely';
import { Migrator } from 'kysely/migration';
import { Pool, type PoolConfig } from 'pg';
import { migrations } from './migrations.ts';
import type { Schema } from './schema.ts';
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

export interface DatabaseOptions {
  /** Whether a connection leads to one backend for as long as it is open, which a pooler in between does not promise: single statements are prepared once on each. */
  readonly prepares?: boolean;
}

/** Texts of statements are written in the code: there are no more, unless one is made up of parts. */
const preparedMaxCount = 100;

export class Database implements AsyncDisposable {
  readonly #pool: Pool;
  readonly #kysely: Kysely<Schema>;
  readonly #prepares: boolean;
  /** The name of each text. */
  readonly #prepared = new Map<string, string>();

  private constructor(pool: Pool, kysely: Kysely<Schema>, prepares: boolean) {
    this.#pool = pool;
    this.#kysely = kysely;
    this.#prepares = prepares;
  }

  /** Brings the tables up to date. Errors: `store_unavailable`; `config_invalid` for a role that sees too much; `internal` when another version of Bulkhead has gone further. */
  static async open(connection: PoolConfig, { prepares = false }: DatabaseOptions = {}): Promise<Database> {
    const pool = new Pool({ ...poolOptions, ...connection });
    // A connection that breaks, used or not: its query fails, the next one opens another.
    pool.on('error', () => undefined);
    pool.on('connect', (client) => client.on('error', () => undefined));
    const kysely = new Kysely<Schema>({ dialect: new PostgresDialect({ pool }) });
    try {
      await checkRole(kysely);
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
    return new Database(pool, kysely, prepares);
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

  /** One statement that is a transaction of its own, and says itself whose rows it works with. Errors: `store_unavailable`, `internal`. */
  async query<T>(statement: RawBuilder<T>): Promise<readonly T[]> {
    const { sql: text, parameters } = statement.compile(this.#kysely);
    const name = this.#nameOf(text);
    const values = [...parameters];
    try {
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- whoever writes the statement says what its rows are
      return (await this.#pool.query({ ...(name === undefined ? {} : { name }), text, values })).rows as readonly T[];
    } catch (error) {
      throw queryError(error);
    }
  }

  #nameOf(text: string): string | undefined {
    if (!this.#prepares) return undefined;
    const known = this.#prepared.get(text);
    if (known !== undefined || this.#prepared.size >= preparedMaxCount) return known;
    const name = `bulkhead-${this.#prepared.size}`;
    this.#prepared.set(text, name);
    return name;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#kysely.destroy();
  }
}

/** A role that row-level security does not bind would see every tenant's rows, whatever the transaction says. */
async function checkRole(kysely: Kysely<Schema>): Promise<void> {
  const { rows } = await sql<{ readonly free: boolean }>`
    SELECT rolsuper OR rolbypassrls AS free FROM pg_roles WHERE rolname = current_user
  `.execute(kysely);
  if (rows[0]?.free === false) return;
  throw new BulkheadError('config_invalid', 'Row-level security does not bind the role that DATABASE_URL names.', {
    hint: 'Use a role of its own that owns the database: CREATE ROLE bulkhead LOGIN NOSUPERUSER NOBYPASSRLS.',
  });
}
