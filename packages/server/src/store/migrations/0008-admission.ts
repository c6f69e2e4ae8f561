// What a tenant may have, as functions: sessions that are begun or woken are counted under the tenant's lock and kept, or refused, in one statement. Each
// query in them sees what others committed before the lock was taken.

import { type Kysely, sql } from 'kysely';

export async function addAdmission(database: Kysely<unknown>): Promise<void> {
  // Why a tenant may not have what has been written for it, or null. `strengths` are the tiers from the weakest on: one that is not there is weaker than all.
  await sql`
    CREATE FUNCTION admission_refusal(whose text, wanted text[], strengths text[], counted text[]) RETURNS jsonb LANGUAGE plpgsql AS $$
    DECLARE
      its_quotas jsonb;
      least text;
      refusal jsonb;
    BEGIN
      SELECT quotas, minimum_tier INTO its_quotas, least FROM tenants WHERE id = whose AND deleted_at_unix_ms IS NULL;
      IF NOT FOUND THEN RETURN jsonb_build_object('why', 'no tenant', 'tenant', whose); END IF;
      SELECT jsonb_build_object('why', 'tier', 'tier', tier, 'minimumTier', least) INTO refusal
        FROM unnest(wanted) WITH ORDINALITY AS each (tier, place)
        WHERE coalesce(array_position(strengths, tier), 0) < coalesce(array_position(strengths, least), 0)
        ORDER BY place LIMIT 1;
      IF FOUND THEN RETURN refusal; END IF;
      SELECT jsonb_build_object('why', 'quota', 'quota', quota, 'maximum', its_quotas->quota) INTO refusal
        FROM (
          SELECT count(*) AS sessions,
            coalesce(sum(scratch_mib), 0) AS disk,
            count(*) FILTER (WHERE state <> 'suspended') AS machines,
            coalesce(sum(memory_mib) FILTER (WHERE state <> 'suspended'), 0) AS memory
          FROM sessions WHERE tenant = whose AND NOT ended
        ) AS used,
        LATERAL (
          VALUES ('sessions', sessions), ('machines', machines), ('memoryMib', memory), ('diskMib', disk)
        ) AS each (quota, amount)
        WHERE quota = ANY (counted) AND amount > (its_quotas->>quota)::numeric
        ORDER BY array_position(counted, quota) LIMIT 1;
      RETURN refusal;
    END $$
  `.execute(database);
  // All of them or none. What is refused is undone within, and the answer says why.
  await sql`
    CREATE FUNCTION begin_sessions(
      whose text, lease text, lease_generation bigint, strengths text[],
      ids text[], generations bigint[], states text[], subjects text[], their_labels text[], records text[],
      created bigint[], memory integer[], scratch integer[], tiers text[]
    ) RETURNS jsonb LANGUAGE plpgsql AS $$
    DECLARE
      step text;
      refusal jsonb;
    BEGIN
      PERFORM pg_advisory_xact_lock(hashtextextended(whose, 1));
      step := begin_step(whose, lease, lease_generation);
      IF step <> 'kept' THEN RETURN jsonb_build_object('why', step); END IF;
      BEGIN
        INSERT INTO sessions (
          id, tenant, host, generation, state, subject, labels, record, created_at_unix_ms, memory_mib, scratch_mib
        )
          SELECT each.id, whose, lease, each.generation, each.state, each.subject, each.labels::jsonb, each.record::json,
            each.created_at, each.memory_mib, each.scratch_mib
          FROM unnest(ids, generations, states, subjects, their_labels, records, created, memory, scratch)
            AS each (id, generation, state, subject, labels, record, created_at, memory_mib, scratch_mib)
          ON CONFLICT DO NOTHING;
        refusal := admission_refusal(whose, tiers, strengths, ARRAY['sessions', 'machines', 'memoryMib', 'diskMib']);
        IF refusal IS NOT NULL THEN RAISE EXCEPTION USING ERRCODE = 'BH001'; END IF;
      EXCEPTION WHEN SQLSTATE 'BH001' THEN
        NULL;
      END;
      RETURN refusal;
    END $$
  `.execute(database);
  // The next generation of a session that is to have a machine. One that was asleep has more of it than before.
  await sql`
    CREATE FUNCTION wake_session(
      whose text, lease text, lease_generation bigint, strengths text[],
      session text, next_generation bigint, next_state text, next_subject text, next_labels jsonb, next_record json, tier text
    ) RETURNS jsonb LANGUAGE plpgsql AS $$
    DECLARE
      step text;
      was_asleep boolean;
      refusal jsonb;
    BEGIN
      PERFORM pg_advisory_xact_lock(hashtextextended(whose, 1));
      PERFORM set_config('bulkhead.tenant', whose, true);
      SELECT state = 'suspended' INTO was_asleep FROM sessions WHERE tenant = whose AND id = session;
      BEGIN
        step := save_session(
          whose, lease, lease_generation, session, next_generation, next_state, next_subject, next_labels, next_record
        );
        IF step <> 'kept' THEN
          refusal := jsonb_build_object('why', step);
        ELSIF was_asleep THEN
          refusal := admission_refusal(whose, ARRAY[tier], strengths, ARRAY['machines', 'memoryMib']);
        END IF;
        IF refusal IS NOT NULL THEN RAISE EXCEPTION USING ERRCODE = 'BH001'; END IF;
      EXCEPTION WHEN SQLSTATE 'BH001' THEN
        NULL;
      END;
      RETURN refusal;
    END $$
  `.execute(database);
}
