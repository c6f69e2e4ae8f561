// Tenants, their keys, the answers to idempotency keys, where hosts are reached; sessions that can be searched; turns that are sealed.

import { type Kysely, sql } from 'kysely';
import { secure } from './secure.ts';

export async function addTenants(database: Kysely<unknown>): Promise<void> {
  // The policies bind the owner too: without this the step would see no row.
  await sql`SELECT set_config('bulkhead.tenant', '*', true)`.execute(database);
  await createTenants(database);
  await createKeys(database);
  await createHosts(database);
  await extendSessions(database);
  await sealTurns(database);
}

async function createTenants(database: Kysely<unknown>): Promise<void> {
  await database.schema
    .createTable('tenants')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('version', 'bigint', (column) => column.notNull())
    .addColumn('quotas', 'jsonb', (column) => column.notNull())
    .addColumn('minimum_tier', 'text')
    .addColumn('retention_days', 'integer', (column) => column.notNull())
    .addColumn('created_at_unix_ms', 'bigint', (column) => column.notNull())
    .addColumn('deleted_at_unix_ms', 'bigint')
    .execute();
  await sql`CREATE UNIQUE INDEX tenants_by_name ON tenants (name) WHERE deleted_at_unix_ms IS NULL`.execute(database);
  await secure(database, 'tenants', 'id');
  // Whoever has sessions already goes on without a bound, as it was.
  await sql`
    INSERT INTO tenants (id, name, version, quotas, retention_days, created_at_unix_ms)
    SELECT tenant, translate(tenant, '_', '-'), 1,
      '{"sessions": 1000000000, "machines": 1000000000, "memoryMib": 1000000000, "diskMib": 1000000000, "requestsPerSecond": 1000000000}',
      30, (extract(epoch FROM min(created_at)) * 1000)::bigint
    FROM sessions GROUP BY tenant
  `.execute(database);
}

async function createKeys(database: Kysely<unknown>): Promise<void> {
  await database.schema
    .createTable('api_keys')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('tenant', 'text', (column) => column.notNull().references('tenants.id').onDelete('cascade'))
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('subject', 'text', (column) => column.notNull())
    .addColumn('scopes', sql`text[]`, (column) => column.notNull())
    .addColumn('hash', 'bytea', (column) => column.notNull())
    .addColumn('former_hash', 'bytea')
    .addColumn('former_until_unix_ms', 'bigint')
    .addColumn('created_at_unix_ms', 'bigint', (column) => column.notNull())
    .addColumn('expires_at_unix_ms', 'bigint')
    .addColumn('revoked_at_unix_ms', 'bigint')
    .addColumn('last_used_at_unix_ms', 'bigint')
    .execute();
  await sql`CREATE INDEX api_keys_page ON api_keys (tenant, created_at_unix_ms, id)`.execute(database);
  await secure(database, 'api_keys', 'tenant');
  await database.schema
    .createTable('idempotency_keys')
    .addColumn('tenant', 'text', (column) => column.notNull())
    .addColumn('subject', 'text', (column) => column.notNull())
    .addColumn('key', 'text', (column) => column.notNull())
    .addColumn('fingerprint', 'bytea', (column) => column.notNull())
    .addColumn('state', 'text', (column) => column.notNull())
    .addColumn('holder', 'text', (column) => column.notNull())
    .addColumn('holder_generation', 'bigint', (column) => column.notNull())
    .addColumn('sealed_with', 'text')
    .addColumn('answer', 'bytea')
    .addColumn('expires_at', 'timestamptz', (column) => column.notNull())
    .addPrimaryKeyConstraint('idempotency_keys_key', ['tenant', 'subject', 'key'])
    .execute();
  await database.schema.createIndex('idempotency_by_end').on('idempotency_keys').column('expires_at').execute();
  await secure(database, 'idempotency_keys', 'tenant');
}

async function createHosts(database: Kysely<unknown>): Promise<void> {
  await database.schema
    .createTable('hosts')
    .addColumn('name', 'text', (column) => column.primaryKey())
    .addColumn('url', 'text', (column) => column.notNull())
    .execute();
  await secure(database, 'hosts', undefined);
}

async function extendSessions(database: Kysely<unknown>): Promise<void> {
  await sql`
    ALTER TABLE sessions
      ADD COLUMN subject text NOT NULL DEFAULT 'local',
      ADD COLUMN labels jsonb NOT NULL DEFAULT '{}',
      ADD COLUMN memory_mib integer NOT NULL DEFAULT 512,
      ADD COLUMN scratch_mib integer NOT NULL DEFAULT 2048,
      ADD COLUMN created_at_unix_ms bigint
  `.execute(database);
  await sql`
    UPDATE sessions SET
      created_at_unix_ms =
        coalesce((record->>'createdAtUnixMs')::bigint, (extract(epoch FROM created_at) * 1000)::bigint),
      memory_mib = CASE record->>'size' WHEN 'medium' THEN 1024 WHEN 'large' THEN 4096 ELSE 512 END,
      scratch_mib = CASE record->>'size' WHEN 'medium' THEN 8192 WHEN 'large' THEN 16384 ELSE 2048 END
  `.execute(database);
  await sql`ALTER TABLE sessions ALTER COLUMN created_at_unix_ms SET NOT NULL`.execute(database);
  await sql`CREATE INDEX sessions_page ON sessions (tenant, created_at_unix_ms DESC, id DESC)`.execute(database);
  await sql`CREATE INDEX sessions_alive ON sessions (tenant) WHERE state NOT IN ('terminated', 'failed')`.execute(
    database,
  );
  await sql`CREATE INDEX sessions_by_label ON sessions USING gin (labels)`.execute(database);
  await sql`DROP INDEX sessions_by_tenant`.execute(database);
}

/** What is there stays as it is, in the clear, until its retention is over. */
async function sealTurns(database: Kysely<unknown>): Promise<void> {
  const nowMs = sql`(extract(epoch FROM clock_timestamp()) * 1000)::bigint`;
  await sql`
    ALTER TABLE turns
      ALTER COLUMN request TYPE bytea USING convert_to(request::text, 'UTF8'),
      ALTER COLUMN outcome TYPE bytea USING convert_to(outcome::text, 'UTF8'),
      ADD COLUMN sealed_with text,
      ADD COLUMN started_at_unix_ms bigint
  `.execute(database);
  await sql`UPDATE turns SET started_at_unix_ms = (extract(epoch FROM started_at) * 1000)::bigint`.execute(database);
  await sql`
    ALTER TABLE turns
      ALTER COLUMN started_at_unix_ms SET NOT NULL,
      ALTER COLUMN started_at_unix_ms SET DEFAULT ${nowMs}
  `.execute(database);
  await sql`ALTER TABLE turn_events ALTER COLUMN event TYPE bytea USING convert_to(event::text, 'UTF8')`.execute(
    database,
  );
  await sql`DROP INDEX turns_by_session`.execute(database);
  await sql`CREATE INDEX turns_page ON turns (session, started_at_unix_ms, id)`.execute(database);
  await sql`CREATE INDEX turns_by_key ON turns (tenant, sealed_with)`.execute(database);
  await sql`CREATE INDEX turns_by_end ON turns (tenant, ended_at)`.execute(database);
}
