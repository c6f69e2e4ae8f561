// What a session that falls asleep waits for, as functions: calls of them go into a statement with a step, as those of a turn do.

import { type Kysely, sql } from 'kysely';

export async function addSnapshotSteps(database: Kysely<unknown>): Promise<void> {
  await sql`
    CREATE FUNCTION begin_snapshot(
      whose text, lease text, snapshot text, its_session text, its_kind text, its_name text, created bigint
    ) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
      INSERT INTO snapshots (id, session, tenant, host, kind, name, created_at_unix_ms)
        VALUES (snapshot, its_session, whose, lease, its_kind, its_name, created);
    END $$
  `.execute(database);
  // Those of the same name that it takes the place of; null where there is no such snapshot.
  await sql`
    CREATE FUNCTION complete_snapshot(
      whose text, snapshot text, its_session text, its_kind text, its_name text, its_bytes bigint, its_epoch integer
    ) RETURNS text[] LANGUAGE plpgsql AS $$
    DECLARE
      replaced text[];
    BEGIN
      UPDATE snapshots SET bytes = its_bytes, epoch = its_epoch WHERE tenant = whose AND id = snapshot;
      IF NOT FOUND THEN RETURN NULL; END IF;
      WITH removed AS (
        DELETE FROM snapshots
          WHERE tenant = whose AND session = its_session AND kind = its_kind AND name = its_name AND id <> snapshot
          RETURNING id
      )
      SELECT coalesce(array_agg(id), '{}') INTO replaced FROM removed;
      RETURN replaced;
    END $$
  `.execute(database);
}
