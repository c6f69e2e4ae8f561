import { type Selectable, sql } from 'kysely';
import type { Database } from './database.ts';
import { everyTenant } from './database.ts';
import type { Lease } from './lease.ts';
import type { Schema } from './schema.ts';
import { keepStep } from './step.ts';

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

export class SnapshotStore {
  readonly #database: Database;
  readonly #lease: Lease;

  constructor(database: Database, lease: Lease) {
    this.#database = database;
    this.#lease = lease;
  }

  /** Before its file. Errors: `state_conflict`, `store_unavailable`. */
  async begin({ id, session, tenant, kind, name, createdAtUnixMs }: Omit<SnapshotRow, 'written'>): Promise<void> {
    const host = this.#lease.name;
    const begin = sql`begin_snapshot(${tenant}, ${host}, ${id}, ${session}, ${kind}, ${name}, ${createdAtUnixMs})`;
    await keepStep(this.#database, this.#lease, { tenant }, begin);
  }

  /** After its file; answers with the snapshots that it takes the place of: checkpoints of the same name. Errors: `state_conflict`, `store_unavailable`. */
  async complete({
    id,
    session,
    tenant,
    kind,
    name,
    written,
  }: SnapshotRow & { readonly written: NonNullable<SnapshotRow['written']> }): Promise<readonly string[]> {
    const { bytes, epoch } = written;
    const complete = sql`complete_snapshot(${tenant}, ${id}, ${session}, ${kind}, ${name}, ${bytes}, ${epoch})`;
    const replaced = await keepStep(this.#database, this.#lease, { tenant }, complete);
    if (!Array.isArray(replaced)) throw new Error(`the snapshot ${id} was not begun, or has been removed`);
    return replaced.map(String);
  }

  async remove(tenant: string, id: string): Promise<void> {
    await this.#database.transaction(tenant, (transaction) =>
      transaction.deleteFrom('snapshots').where('tenant', '=', tenant).where('id', '=', id).execute(),
    );
  }

  async removeOf(tenant: string, session: string): Promise<void> {
    await this.#database.transaction(tenant, (transaction) =>
      transaction.deleteFrom('snapshots').where('tenant', '=', tenant).where('session', '=', session).execute(),
    );
  }

  /** Of a session, oldest first. */
  async list(tenant: string, session: string): Promise<readonly SnapshotRow[]> {
    const rows = await this.#database.transaction(tenant, (transaction) =>
      transaction
        .selectFrom('snapshots')
        .selectAll()
        .where('tenant', '=', tenant)
        .where('host', '=', this.#lease.name)
        .where('session', '=', session)
        .orderBy('created_at_unix_ms')
        .execute(),
    );
    return rows.map(toRow);
  }

  /** Every one on this host, oldest first. */
  async all(): Promise<readonly SnapshotRow[]> {
    const rows = await this.#database.transaction(everyTenant, (transaction) =>
      transaction
        .selectFrom('snapshots')
        .selectAll()
        .where('host', '=', this.#lease.name)
        .orderBy('created_at_unix_ms')
        .execute(),
    );
    return rows.map(toRow);
  }
}

function toRow(row: Selectable<Schema['snapshots']>): SnapshotRow {
  const { id, session, tenant, kind, name, bytes, epoch } = row;
  const written = bytes === null || epoch === null ? null : { bytes: Number(bytes), epoch };
  return { id, session, tenant, kind, name, createdAtUnixMs: Number(row.created_at_unix_ms), written };
}
