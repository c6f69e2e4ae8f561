// What a caller waits for most, as functions: a step of a session, and the start or end of a turn with it, is then one statement. That is a transaction of
// its own, and the way to the database and back costs as much as the work there.

import { type Kysely, sql } from 'kysely';

export async function addSteps(database: Kysely<unknown>): Promise<void> {
  // Both say why nothing was changed. Whose rows it is about holds to the end of the transaction, for what the same statement calls next.
  await sql`
    CREATE FUNCTION begin_step(whose text, lease text, lease_generation bigint) RETURNS text LANGUAGE plpgsql AS $$
    BEGIN
      PERFORM set_config('bulkhead.tenant', whose, true);
      PERFORM 1 FROM leases WHERE name = lease AND generation = lease_generation FOR SHARE;
      RETURN CASE WHEN FOUND THEN 'kept' ELSE 'lease lost' END;
    END $$
  `.execute(database);
  await sql`
    CREATE FUNCTION save_session(
      whose text, lease text, lease_generation bigint,
      session text, next_generation bigint, next_state text, next_subject text, next_labels jsonb, next_record json
    ) RETURNS text LANGUAGE plpgsql AS $$
    DECLARE
      step text := begin_step(whose, lease, lease_generation);
    BEGIN
      IF step <> 'kept' THEN RETURN step; END IF;
      UPDATE sessions
        SET generation = next_generation, state = next_state, subject = next_subject, labels = next_labels,
          record = next_record, changed_at = now()
        WHERE tenant = whose AND id = session AND host = lease
          AND generation BETWEEN next_generation - 1 AND next_generation;
      RETURN CASE WHEN FOUND THEN 'kept' ELSE 'session changed' END;
    END $$
  `.execute(database);
  await sql`
    CREATE FUNCTION start_turn(whose text, turn text, its_session text, key text, given bytea) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
      INSERT INTO turns (id, session, tenant, sealed_with, request) VALUES (turn, its_session, whose, key, given)
        ON CONFLICT (id) DO NOTHING;
    END $$
  `.execute(database);
  // The rows of events come one after the other in one value, with the length of each.
  await sql`
    CREATE FUNCTION end_turn(
      whose text, the_turn text, its_outcome bytea, sequences integer[], lengths integer[], events bytea
    ) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
      UPDATE turns SET outcome = its_outcome, ended_at = now() WHERE tenant = whose AND id = the_turn AND ended_at IS NULL;
      IF NOT FOUND THEN RETURN; END IF;
      INSERT INTO turn_events (turn, tenant, sequence, event)
        SELECT the_turn, whose, sequence, substring(events FROM (sum(length) OVER (ORDER BY sequence) - length + 1)::integer FOR length)
        FROM unnest(sequences, lengths) AS row (sequence, length);
    END $$
  `.execute(database);
}
