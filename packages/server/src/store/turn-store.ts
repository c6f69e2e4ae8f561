import { type Selectable, sql } from 'kysely';
import type { Place } from '../lib/page.ts';
import { type Database, everyTenant } from './database.ts';
import type { Lease } from './lease.ts';
import type { Schema } from './schema.ts';
import type { SessionRow } from './session-store.ts';
import { type Step, keepStep } from './step.ts';

export interface TurnRow {
  readonly id: string;
  readonly session: string;
  readonly tenant: string;
  /** The key that request, outcome and events are sealed with; null for those of before there were any. */
  readonly sealedWith: string | null;
  readonly startedAtUnixMs: number;
  readonly endedAtUnixMs: number | null;
  readonly request: Buffer;
  /** Null while it runs. */
  readonly outcome: Buffer | null;
}

/** Several events, sealed together. */
export interface EventsRow {
  /** The place of the first of them in the turn, from 0. */
  readonly sequence: number;
  readonly events: Buffer;
}

type NewTurn = Pick<TurnRow, 'id' | 'request'> & { readonly sealedWith: string };
type TurnEnd = Pick<TurnRow, 'id'> & { readonly outcome: Buffer };

const sequenceMaximum = 2_147_483_647;

export class TurnStore {
  readonly #database: Database;
  readonly #lease: Lease;

  constructor(database: Database, lease: Lease) {
    this.#database = database;
    this.#lease = lease;
  }

  /** With the generation of its session that runs it. A second time changes nothing. Errors: `state_conflict`, `store_unavailable`. */
  async start(session: SessionRow, { id, sealedWith, request }: NewTurn): Promise<void> {
    const { tenant } = session;
    const start = sql`start_turn(${tenant}, ${id}, ${session.id}, ${sealedWith}, ${request})`;
    await keepStep(this.#database, this.#lease, session, start);
  }

  /** Events and outcome, with the step that comes of it, all or nothing; a second time changes nothing. Errors: `state_conflict`, `store_unavailable`. */
  async end(step: Step, { id, outcome }: TurnEnd, events: readonly EventsRow[]): Promise<void> {
    const sequences = events.map(({ sequence }) => sequence);
    const lengths = events.map((row) => row.events.length);
    const bytes = Buffer.concat(events.map((row) => row.events));
    const end = sql`end_turn(${step.tenant}, ${id}, ${outcome}, ${sequences}, ${lengths}, ${bytes})`;
    await keepStep(this.#database, this.#lease, step, end);
  }

  /** Turns of this host that were started and have no end. */
  async open(): Promise<readonly TurnRow[]> {
    const rows = await this.#database.transaction(everyTenant, (transaction) =>
      transaction
        .selectFrom('turns')
        .innerJoin('sessions', 'sessions.id', 'turns.session')
        .selectAll('turns')
        .where('sessions.host', '=', this.#lease.name)
        .where('turns.ended_at', 'is', null)
        .execute(),
    );
    return rows.map(toRow);
  }

  async get(tenant: string, session: string, id: string): Promise<TurnRow | undefined> {
    const row = await this.#database.transaction(tenant, (transaction) =>
      transaction
        .selectFrom('turns')
        .selectAll()
        .where('tenant', '=', tenant)
        .where('session', '=', session)
        .where('id', '=', id)
        .executeTakeFirst(),
    );
    return row === undefined ? undefined : toRow(row);
  }

  /** A session's turns after a place, oldest first, without their contents. */
  async page(
    tenant: string,
    session: string,
    { after, limit }: { readonly after?: Place; readonly limit: number },
  ): Promise<readonly Omit<TurnRow, 'request' | 'outcome' | 'sealedWith'>[]> {
    const rows = await this.#database.transaction(tenant, (transaction) => {
      const all = transaction
        .selectFrom('turns')
        .select(['id', 'session', 'tenant', 'started_at_unix_ms', 'ended_at'])
        .where('tenant', '=', tenant)
        .where('session', '=', session);
      const rest =
        after === undefined ? all : all.where(sql<boolean>`(started_at_unix_ms, id) > (${after.unixMs}, ${after.id})`);
      return rest.orderBy('started_at_unix_ms').orderBy('id').limit(limit).execute();
    });
    return rows.map(({ id, session: of, tenant: whose, started_at_unix_ms: started, ended_at: ended }) => ({
      id,
      session: of,
      tenant: whose,
      startedAtUnixMs: Number(started),
      endedAtUnixMs: ended?.getTime() ?? null,
    }));
  }

  /** At most so many rows of what a turn told, from the one that holds the event at `from` on. */
  async events(tenant: string, turn: string, from: number, rows: number): Promise<readonly EventsRow[]> {
    // A reader may name any event, and the column holds no larger number; no turn has so many.
    const named = Math.min(from, sequenceMaximum);
    const found = await this.#database.transaction(tenant, (transaction) =>
      transaction
        .selectFrom('turn_events')
        .select(['sequence', 'event'])
        .where('tenant', '=', tenant)
        .where('turn', '=', turn)
        .where('sequence', '>=', (query) =>
          query
            .selectFrom('turn_events')
            .select(({ fn }) => fn.coalesce(fn.max('sequence'), sql<number>`0`).as('first'))
            .where('tenant', '=', tenant)
            .where('turn', '=', turn)
            .where('sequence', '<=', named),
        )
        .orderBy('sequence')
        .limit(rows)
        .execute(),
    );
    return found.map((row) => ({ sequence: row.sequence, events: row.event }));
  }

  /** Removes at most so many turns that ended more than `days` ago, with all that they told. Answers how many. */
  async removeEnded(tenant: string, days: number, limit: number): Promise<number> {
    const { numDeletedRows } = await this.#database.transaction(tenant, (transaction) =>
      transaction
        .deleteFrom('turns')
        .where('tenant', '=', tenant)
        .where('id', 'in', (query) =>
          query
            .selectFrom('turns')
            .select('id')
            .where('tenant', '=', tenant)
            .where('ended_at', '<', sql<Date>`now() - make_interval(days => ${days})`)
            .limit(limit),
        )
        .executeTakeFirstOrThrow(),
    );
    return Number(numDeletedRows);
  }

  /** Whether anything that is kept is sealed with a key. */
  async needs(tenant: string, key: string): Promise<boolean> {
    const found = await this.#database.transaction(tenant, async (transaction) => [
      await transaction
        .selectFrom('turns')
        .select('id')
        .where('tenant', '=', tenant)
        .where('sealed_with', '=', key)
        .limit(1)
        .executeTakeFirst(),
      await transaction
        .selectFrom('idempotency_keys')
        .select('key')
        .where('tenant', '=', tenant)
        .where('sealed_with', '=', key)
        .limit(1)
        .executeTakeFirst(),
    ]);
    return found.some((row) => row !== undefined);
  }
}

function toRow(row: Selectable<Schema['turns']>): TurnRow {
  const { id, session, tenant, sealed_with: sealedWith, request, outcome } = row;
  return {
    id,
    session,
    tenant,
    sealedWith,
    startedAtUnixMs: Number(row.started_at_unix_ms),
    endedAtUnixMs: row.ended_at?.getTime() ?? null,
    request,
    outcome,
  };
}
