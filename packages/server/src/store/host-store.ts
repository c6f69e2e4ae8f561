import { sql } from 'kysely';
import { type Database, everyTenant } from './database.ts';
import type { Lease } from './lease.ts';

export interface HostRow {
  /** It is this one. */
  readonly here: boolean;
  /** Its server holds its lease. */
  readonly alive: boolean;
  readonly url: string | null;
}

export class HostStore {
  readonly #database: Database;
  readonly #lease: Lease;

  constructor(database: Database, lease: Lease) {
    this.#database = database;
    this.#lease = lease;
  }

  /** Says where this server can be reached. */
  async advertise(url: string): Promise<void> {
    await this.#database.transaction(everyTenant, (transaction) =>
      transaction
        .insertInto('hosts')
        .values({ name: this.#lease.name, url })
        .onConflict((conflict) => conflict.column('name').doUpdateSet({ url }))
        .execute(),
    );
  }

  /** The host that has a session of the tenant. */
  async of(tenant: string, session: string): Promise<HostRow | undefined> {
    const row = await this.#database.transaction(everyTenant, (transaction) =>
      transaction
        .selectFrom('sessions')
        .leftJoin('hosts', 'hosts.name', 'sessions.host')
        .leftJoin('leases', (join) =>
          join.onRef('leases.name', '=', 'sessions.host').on('leases.expires_at', '>', sql<Date>`clock_timestamp()`),
        )
        .select(['sessions.host', 'hosts.url', 'leases.holder'])
        .where('sessions.tenant', '=', tenant)
        .where('sessions.id', '=', session)
        .executeTakeFirst(),
    );
    if (row === undefined) return undefined;
    return { here: row.host === this.#lease.name, alive: row.holder !== null, url: row.url };
  }
}
