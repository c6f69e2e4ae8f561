import type { Labels, SessionState } from '@bulkhead/protocol';
import { type Selectable, sql } from 'kysely';
import type { Place } from '../lib/page.ts';
import { keepAdmitted, tierStrengths } from './admission.ts';
import { type Database, everyTenant } from './database.ts';
import type { Lease } from './lease.ts';
import type { Schema } from './schema.ts';
import { keepStep } from './step.ts';

export interface SessionRow {
  readonly id: string;
  readonly tenant: string;
  readonly subject: string;
  readonly labels: Labels;
  readonly state: string;
  readonly generation: number;
  readonly memoryMib: number;
  readonly scratchMib: number;
  readonly tier: string;
  readonly createdAtUnixMs: number;
  readonly record: unknown;
}

export interface SessionQuery {
  readonly states?: readonly SessionState[];
  readonly subject?: string;
  /** A value of null is any. */
  readonly labels?: Readonly<Record<string, string | null>>;
  readonly after?: Place;
  readonly limit: number;
}

/** What is kept of a session that is read: its record, and in which state. */
export type KeptSession = Pick<SessionRow, 'id' | 'tenant' | 'state' | 'generation' | 'record'>;

export class SessionStore {
  readonly #database: Database;
  readonly #lease: Lease;

  constructor(database: Database, lease: Lease) {
    this.#database = database;
    this.#lease = lease;
  }

  /**
   * New sessions of one tenant, all of them or none. A second time changes nothing. Errors: `quota_exceeded`, `host_unsupported` when the tenant wants a stronger
   * tier, `not_found` when there is no such tenant; `state_conflict`, `store_unavailable`.
   */
  async begin(rows: readonly SessionRow[]): Promise<void> {
    const [first] = rows;
    if (first === undefined) return;
    const { name, generation } = this.#lease;
    const each = <T>(of: (row: SessionRow) => T): readonly T[] => rows.map(of);
    await keepAdmitted(
      this.#database,
      sql`begin_sessions(
        ${first.tenant}, ${name}, ${generation}, ${tierStrengths},
        ${each(({ id }) => id)}, ${each((row) => row.generation)}, ${each(({ state }) => state)}, ${each(({ subject }) => subject)},
        ${each(({ labels }) => JSON.stringify(labels))}, ${each(({ record }) => JSON.stringify(record))},
        ${each(({ createdAtUnixMs }) => createdAtUnixMs)}, ${each(({ memoryMib }) => memoryMib)},
        ${each(({ scratchMib }) => scratchMib)}, ${each(({ tier }) => tier)}
      )`,
    );
  }

  /**
   * The next generation of a session. Errors: `state_conflict` when the row has another generation than the one before this, or the lease is lost;
   * `quota_exceeded` for one that was asleep and is to have a machine, `host_unsupported` and `not_found` as in `begin`; `store_unavailable`.
   */
  async save(row: SessionRow): Promise<void> {
    if (row.state !== 'resuming') {
      await keepStep(this.#database, this.#lease, row);
      return;
    }
    const { name, generation: holds } = this.#lease;
    const { id, tenant, generation, state, subject, labels, record, tier } = row;
    await keepAdmitted(
      this.#database,
      sql`wake_session(
        ${tenant}, ${name}, ${holds}, ${tierStrengths},
        ${id}, ${generation}, ${state}, ${subject}, ${JSON.stringify(labels)}, ${JSON.stringify(record)}, ${tier}
      )`,
    );
  }

  /** Every session of this host, oldest first. */
  async all(): Promise<readonly KeptSession[]> {
    const rows = await this.#database.transaction(everyTenant, (transaction) =>
      transaction
        .selectFrom('sessions')
        .selectAll()
        .where('host', '=', this.#lease.name)
        .orderBy('created_at')
        .execute(),
    );
    return rows.map(toKept);
  }

  /** Whichever host has it. */
  async get(tenant: string, id: string): Promise<KeptSession | undefined> {
    const row = await this.#database.transaction(tenant, (transaction) =>
      transaction
        .selectFrom('sessions')
        .selectAll()
        .where('tenant', '=', tenant)
        .where('id', '=', id)
        .executeTakeFirst(),
    );
    return row === undefined ? undefined : toKept(row);
  }

  /** Newest first, whichever host has them. */
  async page(tenant: string, query: SessionQuery): Promise<readonly KeptSession[]> {
    const { states, subject, labels = {}, after, limit } = query;
    const rows = await this.#database.transaction(tenant, (transaction) => {
      let chosen = transaction.selectFrom('sessions').selectAll().where('tenant', '=', tenant);
      if (states !== undefined) chosen = chosen.where('state', 'in', [...states]);
      if (subject !== undefined) chosen = chosen.where('subject', '=', subject);
      for (const [key, value] of Object.entries(labels)) {
        const has =
          value === null
            ? sql<boolean>`labels ? ${key}`
            : sql<boolean>`labels @> ${JSON.stringify({ [key]: value })}::jsonb`;
        chosen = chosen.where(has);
      }
      if (after !== undefined) {
        chosen = chosen.where(sql<boolean>`(created_at_unix_ms, id) < (${after.unixMs}, ${after.id})`);
      }
      return chosen.orderBy('created_at_unix_ms', 'desc').orderBy('id', 'desc').limit(limit).execute();
    });
    return rows.map(toKept);
  }

  /** Removes a tenant's sessions on this host that have ended, with their turns. */
  async removeEnded(tenant: string): Promise<void> {
    await this.#database.transaction(tenant, (transaction) =>
      transaction
        .deleteFrom('sessions')
        .where('tenant', '=', tenant)
        .where('host', '=', this.#lease.name)
        .where('ended', '=', true)
        .execute(),
    );
  }
}

function toKept({ id, tenant, state, generation, record }: Selectable<Schema['sessions']>): KeptSession {
  return { id, tenant, state, generation: Number(generation), record };
}
