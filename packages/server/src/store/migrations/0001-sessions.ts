import { type Kysely, sql } from 'kysely';

const tenantTables = ['sessions', 'turns', 'turn_events', 'snapshots'] as const;

export async function createTables(database: Kysely<unknown>): Promise<void> {
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
