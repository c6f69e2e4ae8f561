import { type Selectable, sql } from 'kysely';
import type { Place } from '../lib/page.ts';
import type { Database } from './database.ts';
import type { Schema } from './schema.ts';

export interface DecisionRow {
  readonly id: string;
  readonly tenant: string;
  readonly session: string;
  readonly epoch: number;
  readonly action: string;
  readonly outcome: string;
  readonly reason: string;
  readonly policies: readonly string[];
  /** Null where no policy was asked, as what follows. */
  readonly policyVersion: string | null;
  readonly argumentsDigest: string | null;
  readonly sealedWith: string | null;
  readonly request: Buffer | null;
  /** Which it waited for, or was carried out by. */
  readonly approval: string | null;
  readonly decidedAtUnixMs: number;
  readonly endedAtUnixMs: number | null;
  readonly error: string | null;
  /** Of a connection: what it carried; null of anything else. */
  readonly sentBytes: number | null;
  readonly receivedBytes: number | null;
}

/** What a connection carried. */
export type Transferred = Pick<DecisionRow, 'sentBytes' | 'receivedBytes'>;

export interface PolicySetRow {
  readonly version: string;
  readonly schema: string;
  readonly policies: string;
}

export class DecisionStore {
  readonly #database: Database;
  /** Policy sets that are known to be kept. */
  readonly #kept = new Set<string>();

  constructor(database: Database) {
    this.#database = database;
  }

  /** With what it was decided by, which is kept once. Durable when it resolves. Errors: `store_unavailable`. */
  async insert(
    row: Omit<DecisionRow, 'endedAtUnixMs' | 'error' | keyof Transferred>,
    policySet?: PolicySetRow,
  ): Promise<void> {
    const { tenant } = row;
    if (policySet !== undefined) await this.#keep(tenant, policySet);
    await this.#database.query(sql`SELECT begin_decision(
      ${tenant}, ${row.id}, ${row.session}, ${row.epoch}, ${row.action}, ${row.outcome}, ${row.reason}, ${row.policies}::text[],
      ${row.policyVersion}, ${row.argumentsDigest}, ${row.sealedWith}, ${row.request}::bytea, ${row.approval}, ${row.decidedAtUnixMs}
    )`);
  }

  /** Before the first decision that names it. */
  async #keep(tenant: string, policySet: PolicySetRow): Promise<void> {
    const name = `${tenant} ${policySet.version}`;
    if (this.#kept.has(name)) return;
    await this.#database.transaction(tenant, (transaction) =>
      transaction
        .insertInto('policy_sets')
        .values({ tenant, ...policySet })
        .onConflict((conflict) => conflict.doNothing())
        .execute(),
    );
    this.#kept.add(name);
  }

  async end(tenant: string, id: string, unixMs: number, error: string | null): Promise<void> {
    await this.#database.query(sql`SELECT end_decision(${tenant}, ${id}, ${unixMs}, ${error})`);
  }

  /** The end of a connection, with what it carried. */
  async endConnection(
    tenant: string,
    id: string,
    unixMs: number,
    { error, sentBytes, receivedBytes }: Transferred & Pick<DecisionRow, 'error'>,
  ): Promise<void> {
    await this.#database.transaction(tenant, (transaction) =>
      transaction
        .updateTable('decisions')
        .set({ ended_at_unix_ms: unixMs, error, sent_bytes: sentBytes, received_bytes: receivedBytes })
        .where('tenant', '=', tenant)
        .where('id', '=', id)
        .execute(),
    );
  }

  /** What connections of a session have carried by an action, those that have ended. */
  async transferredBytes(tenant: string, session: string, action: string): Promise<number> {
    const row = await this.#database.transaction(tenant, (transaction) =>
      transaction
        .selectFrom('decisions')
        .select(sql<string | null>`sum(sent_bytes + received_bytes)`.as('bytes'))
        .where('tenant', '=', tenant)
        .where('session', '=', session)
        .where('action', '=', action)
        .executeTakeFirst(),
    );
    return Number(row?.bytes ?? 0);
  }

  async get(tenant: string, id: string): Promise<DecisionRow | undefined> {
    const row = await this.#database.transaction(tenant, (transaction) =>
      transaction
        .selectFrom('decisions')
        .selectAll()
        .where('tenant', '=', tenant)
        .where('id', '=', id)
        .executeTakeFirst(),
    );
    return row === undefined ? undefined : toRow(row);
  }

  /** Newest first. */
  async page(
    tenant: string,
    options: {
      readonly session?: string;
      readonly outcome?: string;
      readonly sinceUnixMs?: number;
      readonly before?: Place;
      readonly limit: number;
    },
  ): Promise<readonly DecisionRow[]> {
    const { session, outcome, sinceUnixMs, before, limit } = options;
    const rows = await this.#database.transaction(tenant, (transaction) => {
      let query = transaction.selectFrom('decisions').selectAll().where('tenant', '=', tenant);
      if (session !== undefined) query = query.where('session', '=', session);
      if (outcome !== undefined) query = query.where('outcome', '=', outcome);
      if (sinceUnixMs !== undefined) query = query.where('decided_at_unix_ms', '>=', String(sinceUnixMs));
      if (before !== undefined) {
        query = query.where(sql<boolean>`(decided_at_unix_ms, id) < (${before.unixMs}, ${before.id})`);
      }
      return query.orderBy('decided_at_unix_ms', 'desc').orderBy('id', 'desc').limit(limit).execute();
    });
    return rows.map(toRow);
  }

  async policySet(tenant: string, version: string): Promise<PolicySetRow | undefined> {
    return await this.#database.transaction(tenant, (transaction) =>
      transaction
        .selectFrom('policy_sets')
        .select(['version', 'schema', 'policies'])
        .where('tenant', '=', tenant)
        .where('version', '=', version)
        .executeTakeFirst(),
    );
  }
}

function toRow(row: Selectable<Schema['decisions']>): DecisionRow {
  const { id, tenant, session, epoch, action, outcome, reason, policies, request, approval, error } = row;
  return {
    id,
    tenant,
    session,
    epoch,
    action,
    outcome,
    reason,
    policies,
    policyVersion: row.policy_version,
    argumentsDigest: row.arguments_digest,
    sealedWith: row.sealed_with,
    request,
    approval,
    decidedAtUnixMs: Number(row.decided_at_unix_ms),
    endedAtUnixMs: row.ended_at_unix_ms === null ? null : Number(row.ended_at_unix_ms),
    error,
    sentBytes: row.sent_bytes === null ? null : Number(row.sent_bytes),
    receivedBytes: row.received_bytes === null ? null : Number(row.received_bytes),
  };
}
