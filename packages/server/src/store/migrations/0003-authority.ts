// What tenants' sessions may use: tools, secrets, policies; and what was decided.

import { type Kysely, sql } from 'kysely';
import { secure } from './secure.ts';

export async function addAuthority(database: Kysely<unknown>): Promise<void> {
  await createSettings(database);
  await createDecisions(database);
}

async function createSettings(database: Kysely<unknown>): Promise<void> {
  await database.schema
    .createTable('authority')
    .addColumn('tenant', 'text', (column) => column.primaryKey().references('tenants.id').onDelete('cascade'))
    .addColumn('version', 'bigint', (column) => column.notNull())
    .addColumn('policies', 'text', (column) => column.notNull())
    .execute();
  await secure(database, 'authority', 'tenant');
  await database.schema
    .createTable('tools')
    .addColumn('tenant', 'text', (column) => column.notNull().references('tenants.id').onDelete('cascade'))
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('settings', 'jsonb', (column) => column.notNull())
    .addPrimaryKeyConstraint('tools_key', ['tenant', 'name'])
    .execute();
  await secure(database, 'tools', 'tenant');
  await database.schema
    .createTable('secrets')
    .addColumn('tenant', 'text', (column) => column.notNull().references('tenants.id').onDelete('cascade'))
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('wrapped_key', 'bytea', (column) => column.notNull())
    .addColumn('sealed', 'bytea', (column) => column.notNull())
    .addColumn('changed_at_unix_ms', 'bigint', (column) => column.notNull())
    .addPrimaryKeyConstraint('secrets_key', ['tenant', 'name'])
    .execute();
  await secure(database, 'secrets', 'tenant');
}

async function createDecisions(database: Kysely<unknown>): Promise<void> {
  // What was decided by is kept as long as decisions name it, so that any of them can be asked again.
  await database.schema
    .createTable('policy_sets')
    .addColumn('tenant', 'text', (column) => column.notNull().references('tenants.id').onDelete('cascade'))
    .addColumn('version', 'text', (column) => column.notNull())
    .addColumn('schema', 'text', (column) => column.notNull())
    .addColumn('policies', 'text', (column) => column.notNull())
    .addPrimaryKeyConstraint('policy_sets_key', ['tenant', 'version'])
    .execute();
  await secure(database, 'policy_sets', 'tenant');
  await database.schema
    .createTable('decisions')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('tenant', 'text', (column) => column.notNull().references('tenants.id').onDelete('cascade'))
    .addColumn('session', 'text', (column) => column.notNull())
    .addColumn('epoch', 'integer', (column) => column.notNull())
    .addColumn('action', 'text', (column) => column.notNull())
    .addColumn('outcome', 'text', (column) => column.notNull())
    .addColumn('reason', 'text', (column) => column.notNull())
    .addColumn('policies', sql`text[]`, (column) => column.notNull())
    .addColumn('policy_version', 'text')
    .addColumn('arguments_digest', 'text')
    .addColumn('sealed_with', 'text')
    .addColumn('request', 'bytea')
    .addColumn('decided_at_unix_ms', 'bigint', (column) => column.notNull())
    .addColumn('ended_at_unix_ms', 'bigint')
    .addColumn('error', 'text')
    .execute();
  await sql`CREATE INDEX decisions_page ON decisions (tenant, decided_at_unix_ms DESC, id DESC)`.execute(database);
  await sql`CREATE INDEX decisions_by_session ON decisions (session, decided_at_unix_ms DESC, id DESC)`.execute(
    database,
  );
  await secure(database, 'decisions', 'tenant');
}
