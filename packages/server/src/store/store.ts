// Every query of Bulkhead. Rows are plain: what a record or an event means is for those who keep them here.

import { BulkheadError } from '@bulkhead/protocol';
import { type Selectable, sql } from 'kysely';
import { type Database, everyTenant } from './database.ts';
import { type Lease, checkLease } from './lease.ts';
import type { Schema } from './schema.ts';

export interface SessionRow {
  readonly id: string;
  readonly tenant: string;
  readonly state: string;
  readonly generation: number;
  readonly record: unknown;
}

export interface TurnRow {
  readonly id: string;
  readonly session: string;
  readonly tenant: string;
  readonly request: unknown;
  /** Null while it runs. */
  readonly outcome: unknown;
}

export interface SnapshotRow {
  readonly id: string;
  readonly session: string;
  readonly tenant: string;
  readonly kind: string;
  readonly name: string | null;
  readonly createdAtUnixMs: number;
  /** Null while it is being written. */
  readonly written: { readonly bytes: number; readonly epoch: number } | null;
}

/** Rows of one insert: PostgreSQL takes 65,535 parameters. */
const eventsPerInsert = 5000;

export class Store {
  readonly #database: Database;
  readonly #lease: Lease;

  constructor(database: Database, lease: Lease) {
    this.#database = database;
    this.#lease = lease;
  }

  /** Errors: `state_conflict` when the row has another generation than the one before this, or the lease is lost; `store_unavailable`. */
  async saveSession({ id, tenant, state, generation, record }: SessionRow): Promise<void> {
    const document = JSON.stringify(record);
    await this.#database.transaction(tenant, async (transaction) => {
      await checkLease(transaction, this.#lease);
      const { host } = this;
      if (generation === 1) {
        await transaction
          .insertInto('sessions')
          .values({ id, tenant, host, state, generation, record: document })
          .onConflict((conflict) => conflict.doNothing())
          .execute();
        return;
      }
      const { numUpdatedRows } = await transaction
        .updateTable('sessions')
        .set({ state, generation: String(generation), record: document, changed_at: sql<Date>`now()` })
        .where('id', '=', id)
        .where('host', '=', host)
        .where('generation', '<=', String(generation))
        .where('generation', '>=', String(generation - 1))
        .executeTakeFirst();
      if (numUpdatedRows === 0n) {
        throw new BulkheadError('state_conflict', 'The session has been changed by somebody else.');
      }
    });
  }

  /** Oldest first. */
  async sessions(): Promise<readonly SessionRow[]> {
    const rows = await this.#database.transaction(everyTenant, (transaction) =>
      transaction.selectFrom('sessions').selectAll().where('host', '=', this.host).orderBy('created_at').execute(),
    );
    return rows.map(toSessionRow);
  }

  /** Errors: `store_unavailable`. */
  async startTurn({ id, session, tenant, request }: Omit<TurnRow, 'outcome'>): Promise<void> {
    await this.#database.transaction(tenant, async (transaction) => {
      await checkLease(transaction, this.#lease);
      await transaction
        .insertInto('turns')
        .values({ id, session, tenant, request: JSON.stringify(request), outcome: null, ended_at: null })
        .onConflict((conflict) => conflict.column('id').doNothing())
        .execute();
    });
  }

  /** Events and outcome, all or nothing; a second time changes nothing. */
  async endTurn(turn: Pick<TurnRow, 'id' | 'tenant' | 'outcome'>, events: readonly unknown[]): Promise<void> {
    await this.#database.transaction(turn.tenant, async (transaction) => {
      await checkLease(transaction, this.#lease);
      const { numUpdatedRows } = await transaction
        .updateTable('turns')
        .set({ outcome: JSON.stringify(turn.outcome), ended_at: sql<Date>`now()` })
        .where('id', '=', turn.id)
        .where('ended_at', 'is', null)
        .executeTakeFirst();
      if (numUpdatedRows === 0n) return;
      for (let first = 0; first < events.length; first += eventsPerInsert) {
        const rows = events.slice(first, first + eventsPerInsert).map((event, index) => ({
          turn: turn.id,
          tenant: turn.tenant,
          sequence: first + index,
          event: JSON.stringify(event),
        }));
        await transaction.insertInto('turn_events').values(rows).execute();
      }
    });
  }

  /** Turns that were started and have no end. */
  async openTurns(): Promise<readonly TurnRow[]> {
    return await this.#database.transaction(everyTenant, (transaction) =>
      transaction
        .selectFrom('turns')
        .innerJoin('sessions', 'sessions.id', 'turns.session')
        .select(['turns.id', 'turns.session', 'turns.tenant', 'turns.request', 'turns.outcome'])
        .where('sessions.host', '=', this.host)
        .where('turns.ended_at', 'is', null)
        .execute(),
    );
  }

  /** A session's turns, oldest first. */
  async turns(tenant: string, session: string): Promise<readonly TurnRow[]> {
    return await this.#database.transaction(tenant, (transaction) =>
      transaction
        .selectFrom('turns')
        .select(['id', 'session', 'tenant', 'request', 'outcome'])
        .where('session', '=', session)
        .orderBy('started_at')
        .execute(),
    );
  }

  /** What a turn told, from a sequence number on. */
  async turnEvents(tenant: string, turn: string, from = 0): Promise<readonly unknown[]> {
    const rows = await this.#database.transaction(tenant, (transaction) =>
      transaction
        .selectFrom('turn_events')
        .select('event')
        .where('turn', '=', turn)
        .where('sequence', '>=', from)
        .orderBy('sequence')
        .execute(),
    );
    return rows.map(({ event }) => event);
  }

  /** Removes the turns that ended more than `days` ago, with all that they printed. Answers how many. */
  async forgetTurns(days: number): Promise<number> {
    const { numDeletedRows } = await this.#database.transaction(everyTenant, (transaction) =>
      transaction
        .deleteFrom('turns')
        .where('ended_at', '<', sql<Date>`now() - make_interval(days => ${days})`)
        .executeTakeFirstOrThrow(),
    );
    return Number(numDeletedRows);
  }

  /** Before its file. Errors: `store_unavailable`. */
  async beginSnapshot({
    id,
    session,
    tenant,
    kind,
    name,
    createdAtUnixMs,
  }: Omit<SnapshotRow, 'written'>): Promise<void> {
    await this.#database.transaction(tenant, async (transaction) => {
      await checkLease(transaction, this.#lease);
      const row = { id, session, tenant, host: this.host, kind, name, created_at_unix_ms: createdAtUnixMs };
      await transaction
        .insertInto('snapshots')
        .values({ ...row, bytes: null, epoch: null })
        .execute();
    });
  }

  /** After its file; answers with the snapshots that it takes the place of: checkpoints of the same name. */
  async completeSnapshot({ id, session, tenant, kind, name, written }: SnapshotRow): Promise<readonly string[]> {
    return await this.#database.transaction(tenant, async (transaction) => {
      await checkLease(transaction, this.#lease);
      await transaction
        .updateTable('snapshots')
        .set({ bytes: written === null ? null : String(written.bytes), epoch: written?.epoch ?? null })
        .where('id', '=', id)
        .executeTakeFirstOrThrow();
      const replaced = await transaction
        .deleteFrom('snapshots')
        .where('session', '=', session)
        .where('kind', '=', kind)
        .where('name', '=', name)
        .where('id', '!=', id)
        .returning('id')
        .execute();
      return replaced.map((row) => row.id);
    });
  }

  async removeSnapshot(tenant: string, id: string): Promise<void> {
    await this.#database.transaction(tenant, (transaction) =>
      transaction.deleteFrom('snapshots').where('id', '=', id).execute(),
    );
  }

  async removeSnapshotsOf(tenant: string, session: string): Promise<void> {
    await this.#database.transaction(tenant, (transaction) =>
      transaction.deleteFrom('snapshots').where('session', '=', session).execute(),
    );
  }

  /** Oldest first: of a session, or with `everyTenant` of all on this host. */
  async snapshots(tenant: string, session?: string): Promise<readonly SnapshotRow[]> {
    const rows = await this.#database.transaction(tenant, (transaction) => {
      const all = transaction.selectFrom('snapshots').selectAll().where('host', '=', this.host);
      const chosen = session === undefined ? all : all.where('session', '=', session);
      return chosen.orderBy('created_at_unix_ms').execute();
    });
    return rows.map(toSnapshotRow);
  }

  get host(): string {
    return this.#lease.name;
  }
}

function toSessionRow({ id, tenant, state, generation, record }: Selectable<Schema['sessions']>): SessionRow {
  return { id, tenant, state, generation: Number(generation), record };
}

function toSnapshotRow(row: Selectable<Schema['snapshots']>): SnapshotRow {
  const { id, session, tenant, kind, name, bytes, epoch } = row;
  const written = bytes === null || epoch === null ? null : { bytes: Number(bytes), epoch };
  return { id, session, tenant, kind, name, createdAtUnixMs: Number(row.created_at_unix_ms), written };
}
