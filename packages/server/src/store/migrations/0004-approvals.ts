// Calls of tools that wait for a person, and subjects that are disabled.

import { type Kysely, sql } from 'kysely';
import { secure } from './secure.ts';

export async function addApprovals(database: Kysely<unknown>): Promise<void> {
  await database.schema
    .createTable('approvals')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('tenant', 'text', (column) => column.notNull().references('tenants.id').onDelete('cascade'))
    .addColumn('session', 'text', (column) => column.notNull())
    .addColumn('subject', 'text', (column) => column.notNull())
    .addColumn('decision', 'text', (column) => column.notNull())
    .addColumn('action', 'text', (column) => column.notNull())
    .addColumn('policies', sql`text[]`, (column) => column.notNull())
    .addColumn('arguments_digest', 'text', (column) => column.notNull())
    .addColumn('sealed_with', 'text', (column) => column.notNull())
    .addColumn('request', 'bytea', (column) => column.notNull())
    .addColumn('state', 'text', (column) => column.notNull())
    .addColumn('holder', 'text', (column) => column.notNull())
    .addColumn('holder_generation', 'bigint', (column) => column.notNull())
    .addColumn('created_at', 'timestamptz', (column) => column.notNull())
    .addColumn('expires_at', 'timestamptz', (column) => column.notNull())
    .addColumn('answered_at', 'timestamptz')
    .addColumn('answered_by', 'text')
    .addColumn('answered_with', 'text')
    .addColumn('reason', 'text')
    .execute();
  await sql`CREATE INDEX approvals_page ON approvals (tenant, created_at DESC, id DESC)`.execute(database);
  await sql`CREATE INDEX approvals_pending ON approvals (tenant, session) WHERE state = 'pending'`.execute(database);
  await secure(database, 'approvals', 'tenant');
  await database.schema.alterTable('decisions').addColumn('approval', 'text').execute();
  await database.schema
    .alterTable('authority')
    .addColumn('disabled_subjects', sql`text[]`, (column) => column.notNull().defaultTo(sql`'{}'::text[]`))
    .execute();
}
