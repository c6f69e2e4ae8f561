import type { Selectable } from 'kysely';
import type { Database } from './database.ts';
import { everyTenant } from './database.ts';
import { type Lease, checkLease } from './lease.ts';
import type { Schema } from './schema.ts';

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

  /** Before its file. Errors: `store_unavailable`. */
  async begin({ id, session, tenant, kind, name, createdAtUnixMs }: Omit<SnapshotRow, 'written'>): Promise<void> {
    await this.#database.transaction(tenant, async (transaction) => {
      await checkLease(transaction, this.#lease);
      const row = { id, session, tenant, host: this.#lease.name, kind, name, created_at_unix_ms: createdAtUnixMs };
      await transaction
        .insertInto('snapshots')
        .values({ ...row, bytes: null, epoch: null })
        .execute();
    });
  }

  /** After its file; answers with the snapshots that it takes the place of: checkpoints of the same name. */
  async complete({ id, session, tenant, kind, name, written }: SnapshotRow): Promise<readonly string[]> {
    return await this.#database.transaction(tenant, async (transaction) => {
      await checkLease(transaction, this.#lease);
      await transaction
        .updateTable('snapshots')
        .set({ bytes: written === null ? null : String(written.bytes), epoch: written?.epoch ?? null })
        .where('tenant', '=', tenant)
        .where('id', '=', id)
        .executeTakeFirstOrThrow();
      if (name === null) return [];
      const replaced = await transaction
        .deleteFrom('snapshots')
        .where('tenant', '=', tenant)
        .where('session', '=', session)
        .where('kind', '=', kind)
        .where('name', '=', name)
        .where('id', '!=', id)
        .returning('id')
        .execute();
      return replaced.map((row) => row.id);
    });
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
