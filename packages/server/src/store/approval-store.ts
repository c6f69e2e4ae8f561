// Calls that wait for a person. Every change is one statement that names the state it changes from, so that of several only one is made; times are
// the database's. What is `pending` and too late reads `expired` at once, whoever asks; `settle` writes that down, and what a server left behind.

import { type RawBuilder, sql } from 'kysely';
import type { Place } from '../lib/page.ts';
import { type Database, type StoreTransaction, everyTenant } from './database.ts';
import type { Lease } from './lease.ts';
import { lockTenant } from './tenant-row.ts';

export interface NewApprovalRow {
  readonly id: string;
  readonly tenant: string;
  readonly session: string;
  readonly subject: string;
  readonly decision: string;
  readonly action: string;
  readonly policies: readonly string[];
  readonly argumentsDigest: string;
  readonly sealedWith: string;
  readonly request: Buffer;
}

export interface ApprovalRow extends NewApprovalRow {
  readonly state: string;
  readonly createdAtUnixMs: number;
  readonly expiresAtUnixMs: number;
  readonly answeredAtUnixMs: number | null;
  readonly answeredBy: string | null;
  readonly answeredWith: string | null;
  readonly reason: string | null;
}

export interface ApprovalAnswerRow {
  readonly state: 'approved' | 'refused';
  readonly by: string;
  readonly key: string | null;
  readonly reason: string | null;
}

const stateNow = sql<string>`CASE WHEN state = 'pending' AND expires_at <= clock_timestamp() THEN 'expired' ELSE state END`;
/** The server whose call waits lives, and has not been started anew. */
const isHeld = sql<boolean>`EXISTS (
  SELECT 1 FROM leases WHERE leases.name = approvals.holder AND leases.generation = approvals.holder_generation
    AND leases.expires_at > clock_timestamp())`;
const unixMs = (column: string): RawBuilder<string | null> =>
  sql`(extract(epoch FROM ${sql.ref(column)}) * 1000)::bigint`;

export class ApprovalStore {
  readonly #database: Database;
  readonly #lease: Lease;

  constructor(database: Database, lease: Lease) {
    this.#database = database;
    this.#lease = lease;
  }

  /** False when as many wait already, for the session or the tenant. Errors: `store_unavailable`. */
  async insert(
    row: NewApprovalRow,
    timeoutMs: number,
    most: { readonly ofSession: number; readonly ofTenant: number },
  ): Promise<boolean> {
    const { tenant, session } = row;
    return await this.#database.transaction(tenant, async (transaction) => {
      await lockTenant(transaction, tenant);
      const { ofTenant, ofSession } = await countPending(transaction, tenant, session);
      if (ofTenant >= most.ofTenant || ofSession >= most.ofSession) return false;
      await transaction
        .insertInto('approvals')
        .values({
          id: row.id,
          tenant,
          session,
          subject: row.subject,
          decision: row.decision,
          action: row.action,
          policies: row.policies,
          arguments_digest: row.argumentsDigest,
          sealed_with: row.sealedWith,
          request: row.request,
          state: 'pending',
          holder: this.#lease.name,
          holder_generation: this.#lease.generation,
          // Whole milliseconds, as the cursors of pages have them.
          created_at: sql<Date>`date_trunc('milliseconds', clock_timestamp())`,
          expires_at: sql<Date>`clock_timestamp() + make_interval(secs => ${timeoutMs / 1000})`,
          answered_at: null,
          answered_by: null,
          answered_with: null,
          reason: null,
        })
        .execute();
      return true;
    });
  }

  /** Undefined when there is none of the tenant. */
  async get(tenant: string, id: string): Promise<ApprovalRow | undefined> {
    const [row] = await this.#select(tenant, sql`id = ${id}`, 1);
    return row;
  }

  /** Newest first. */
  async page(
    tenant: string,
    options: { readonly state?: string; readonly session?: string; readonly before?: Place; readonly limit: number },
  ): Promise<readonly ApprovalRow[]> {
    const { state, session, before, limit } = options;
    const conditions = [
      ...(state === undefined ? [] : [sql`${stateNow} = ${state}`]),
      ...(session === undefined ? [] : [sql`session = ${session}`]),
      ...(before === undefined ? [] : [sql`(${unixMs('created_at')}, id) < (${before.unixMs}, ${before.id})`]),
    ];
    return await this.#select(tenant, conditions.length === 0 ? sql`true` : sql.join(conditions, sql` AND `), limit);
  }

  /** Once: false when it is not pending any more, or was never there. */
  async answer(tenant: string, id: string, { state, by, key, reason }: ApprovalAnswerRow): Promise<boolean> {
    const { numUpdatedRows } = await this.#database.transaction(tenant, (transaction) =>
      transaction
        .updateTable('approvals')
        .set({
          state,
          answered_at: sql<Date>`clock_timestamp()`,
          answered_by: by,
          answered_with: key,
          reason,
        })
        .where('tenant', '=', tenant)
        .where('id', '=', id)
        .where('state', '=', 'pending')
        .where('expires_at', '>', sql<Date>`clock_timestamp()`)
        .executeTakeFirst(),
    );
    return numUpdatedRows === 1n;
  }

  /** Nobody waits for it any more. What was answered stays answered. */
  async cancel(tenant: string, id: string): Promise<void> {
    await this.#database.transaction(tenant, (transaction) =>
      transaction
        .updateTable('approvals')
        .set({ state: 'cancelled' })
        .where('tenant', '=', tenant)
        .where('id', '=', id)
        .where('state', '=', 'pending')
        .execute(),
    );
  }

  /** Of these, the states of those that are not pending any more. */
  async settled(ids: readonly string[]): Promise<ReadonlyMap<string, string>> {
    const rows = await this.#database.transaction(everyTenant, (transaction) =>
      transaction
        .selectFrom('approvals')
        .select(['id', stateNow.as('now')])
        .where('id', 'in', [...ids])
        .where(stateNow, '<>', 'pending')
        .execute(),
    );
    return new Map(rows.map(({ id, now }) => [id, now]));
  }

  /** Writes down what is over, of every tenant: its time, or the server whose call waited. How many there were. */
  async settle(): Promise<number> {
    const { numUpdatedRows } = await this.#database.transaction(everyTenant, (transaction) =>
      transaction
        .updateTable('approvals')
        .set({ state: sql<string>`CASE WHEN expires_at <= clock_timestamp() THEN 'expired' ELSE 'cancelled' END` })
        .where('state', '=', 'pending')
        .where(sql<boolean>`(expires_at <= clock_timestamp() OR NOT ${isHeld})`)
        .executeTakeFirst(),
    );
    return Number(numUpdatedRows);
  }

  async #select(tenant: string, condition: RawBuilder<unknown>, limit: number): Promise<readonly ApprovalRow[]> {
    const rows = await this.#database.transaction(tenant, (transaction) =>
      transaction
        .selectFrom('approvals')
        .selectAll()
        .select([
          stateNow.as('now'),
          unixMs('created_at').as('created'),
          unixMs('expires_at').as('expires'),
          unixMs('answered_at').as('answered'),
        ])
        .where('tenant', '=', tenant)
        .where(sql<boolean>`${condition}`)
        .orderBy('created_at', 'desc')
        .orderBy('id', 'desc')
        .limit(limit)
        .execute(),
    );
    return rows.map((row) => ({
      id: row.id,
      tenant: row.tenant,
      session: row.session,
      subject: row.subject,
      decision: row.decision,
      action: row.action,
      policies: row.policies,
      argumentsDigest: row.arguments_digest,
      sealedWith: row.sealed_with,
      request: row.request,
      state: row.now,
      createdAtUnixMs: Number(row.created),
      expiresAtUnixMs: Number(row.expires),
      answeredAtUnixMs: row.answered === null ? null : Number(row.answered),
      answeredBy: row.answered_by,
      answeredWith: row.answered_with,
      reason: row.reason,
    }));
  }
}

async function countPending(
  transaction: StoreTransaction,
  tenant: string,
  session: string,
): Promise<{ readonly ofTenant: number; readonly ofSession: number }> {
  const row = await transaction
    .selectFrom('approvals')
    .select([
      sql<string>`count(*)`.as('ofTenant'),
      sql<string>`count(*) FILTER (WHERE session = ${session})`.as('ofSession'),
    ])
    .where('tenant', '=', tenant)
    .where('state', '=', 'pending')
    .where(stateNow, '=', 'pending')
    .executeTakeFirstOrThrow();
  return { ofTenant: Number(row.ofTenant), ofSession: Number(row.ofSession) };
}
