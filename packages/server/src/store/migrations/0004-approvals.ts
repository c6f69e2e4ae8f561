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
  await addCalls(database);
}

/** What every call of a tool does, as functions: each is one statement, and so a transaction of its own. They say first whose rows they work with. */
async function addCalls(database: Kysely<unknown>): Promise<void> {
  await sql`
    CREATE FUNCTION authority_version(whose text) RETURNS bigint LANGUAGE plpgsql AS $$
    BEGIN
      PERFORM set_config('bulkhead.tenant', whose, true);
      RETURN coalesce((SELECT version FROM authority WHERE tenant = whose), 0);
    END $$
  `.execute(database);
  await sql`
    CREATE FUNCTION begin_decision(
      whose text, decision text, its_session text, its_epoch integer, its_action text, its_outcome text, its_reason text,
      determining text[], version text, digest text, key text, sealed bytea, its_approval text, at_unix_ms bigint
    ) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
      PERFORM set_config('bulkhead.tenant', whose, true);
      INSERT INTO decisions (
        id, tenant, session, epoch, action, outcome, reason, policies, policy_version, arguments_digest, sealed_with, request,
        approval, decided_at_unix_ms
      ) VALUES (
        decision, whose, its_session, its_epoch, its_action, its_outcome, its_reason, determining, version, digest, key, sealed,
        its_approval, at_unix_ms
      );
    END $$
  `.execute(database);
  await sql`
    CREATE FUNCTION end_decision(whose text, decision text, at_unix_ms bigint, code text) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
      PERFORM set_config('bulkhead.tenant', whose, true);
      UPDATE decisions SET ended_at_unix_ms = at_unix_ms, error = code WHERE tenant = whose AND id = decision;
    END $$
  `.execute(database);
}
