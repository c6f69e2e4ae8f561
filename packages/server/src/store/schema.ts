// The tables as TypeScript sees them, and the steps that lead to them. A step that has been released is never changed: another follows.
//
// Every table of tenants' rows has row-level security, forced on its owner too: a transaction sees the rows of the tenant that it names
// in `bulkhead.tenant`, `*` for the operator's own work, nothing when it names none.
//
// Documents are `json`, not `jsonb`: what a guest printed may hold U+0000, which `jsonb` refuses.

import { type ColumnType, type Generated, type Kysely, sql } from 'kysely';
import type { Migration } from 'kysely/migration';

/** Written as its JSON text, read parsed. */
type Document = ColumnType<unknown, string>;
/** PostgreSQL's `bigint`, below 2^53 in everything that we keep. */
type BigInteger = ColumnType<string, number, string>;
type DatabaseTime = Generated<Date>;

export interface Schema {
  readonly sessions: {
    readonly id: string;
    readonly tenant: string;
    /** Which data directory has its files. */
    readonly host: string;
    readonly state: string;
    readonly generation: BigInteger;
    readonly record: Document;
    readonly created_at: DatabaseTime;
    readonly changed_at: DatabaseTime;
  };
  readonly turns: {
    readonly id: string;
    readonly session: string;
    readonly tenant: string;
    readonly request: Document;
    /** Null while it runs. */
    readonly outcome: ColumnType<unknown, null, string>;
    readonly started_at: DatabaseTime;
    readonly ended_at: ColumnType<Date | null, null>;
  };
  readonly turn_events: {
    readonly turn: string;
    readonly tenant: string;
    readonly sequence: number;
    readonly event: Document;
  };
  readonly snapshots: {
    readonly id: string;
    readonly session: string;
    readonly tenant: string;
    readonly host: string;
    readonly kind: string;
    /** Of a checkpoint. */
    readonly name: string | null;
    /** Null while it is being written. */
    readonly bytes: ColumnType<string | null, null, string | null>;
    readonly epoch: ColumnType<number | null, number | null>;
    readonly created_at_unix_ms: BigInteger;
  };
  readonly leases: {
    readonly name: string;
    readonly holder: string;
    readonly generation: BigInteger;
    readonly expires_at: Date;
  };
}

const tenantTables = ['sessions', 'turns', 'turn_events', 'snapshots'] as const;

export const migrations: Readonly<Record<string, Migration>> = {
  '0001-sessions': { up: createTables },
};

async function createTables(database: Kysely<unknown>): Promise<void> {
  const now = sql`now()`;
  await database.schema
    .createTable('sessions')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('tenant', 'text', (column) => column.notNull())
    .addColumn('host', 'text', (column) => column.notNull())
    .addColumn('state', 'text', (column) => column.notNull())
    .addColumn('generation', 'bigint', (column) => column.notNull())
    .addColumn('record', 'json', (column) => column.notNull())
    .addColumn('created_at', 'timestamptz', (column) => column.notNull().defaultTo(now))
    .addColumn('changed_at', 'timestamptz', (column) => column.notNull().defaultTo(now))
    .execute();
  await database.schema.createIndex('sessions_by_tenant').on('sessions').columns(['tenant', 'created_at']).execute();
  await database.schema.createIndex('sessions_by_host').on('sessions').columns(['host', 'state']).execute();
  await database.schema
    .createTable('turns')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('session', 'text', (column) => column.notNull().references('sessions.id').onDelete('cascade'))
    .addColumn('tenant', 'text', (column) => column.notNull())
    .addColumn('request', 'json', (column) => column.notNull())
    .addColumn('outcome', 'json')
    .addColumn('started_at', 'timestamptz', (column) => column.notNull().defaultTo(now))
    .addColumn('ended_at', 'timestamptz')
    .execute();
  await database.schema.createIndex('turns_by_session').on('turns').columns(['session', 'started_at']).execute();
  await database.schema
    .createTable('turn_events')
    .addColumn('turn', 'text', (column) => column.notNull().references('turns.id').onDelete('cascade'))
    .addColumn('tenant', 'text', (column) => column.notNull())
    .addColumn('sequence', 'integer', (column) => column.notNull())
    .addColumn('event', 'json', (column) => column.notNull())
    .addPrimaryKeyConstraint('turn_events_key', ['turn', 'sequence'])
    .execute();
  await database.schema
    .createTable('snapshots')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('session', 'text', (column) => column.notNull().references('sessions.id').onDelete('cascade'))
    .addColumn('tenant', 'text', (column) => column.notNull())
    .addColumn('host', 'text', (column) => column.notNull())
    .addColumn('kind', 'text', (column) => column.notNull())
    .addColumn('name', 'text')
    .addColumn('bytes', 'bigint')
    .addColumn('epoch', 'integer')
    .addColumn('created_at_unix_ms', 'bigint', (column) => column.notNull())
    .execute();
  await database.schema.createIndex('snapshots_by_session').on('snapshots').column('session').execute();
  await database.schema
    .createTable('leases')
    .addColumn('name', 'text', (column) => column.primaryKey())
    .addColumn('holder', 'text', (column) => column.notNull())
    .addColumn('generation', 'bigint', (column) => column.notNull())
    .addColumn('expires_at', 'timestamptz', (column) => column.notNull())
    .execute();
  for (const name of tenantTables) {
    const table = sql.table(name);
    await sql`ALTER TABLE ${table} ENABLE ROW LEVEL SECURITY`.execute(database);
    await sql`ALTER TABLE ${table} FORCE ROW LEVEL SECURITY`.execute(database);
    await sql`
      CREATE POLICY tenant ON ${table}
      USING (current_setting('bulkhead.tenant', true) IN (tenant, '*'))
    `.execute(database);
  }
}
