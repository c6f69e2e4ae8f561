// What is read before a request is answered, as functions: each is one way to the database and back, and says first whose rows it works with.

import { type Kysely, sql } from 'kysely';

export async function addCallers(database: Kysely<unknown>): Promise<void> {
  // Whose the key is, is not known yet.
  await sql`
    CREATE FUNCTION find_key(key text) RETURNS SETOF api_keys LANGUAGE plpgsql AS $$
    BEGIN
      PERFORM set_config('bulkhead.tenant', '*', true);
      RETURN QUERY SELECT * FROM api_keys WHERE id = key;
    END $$
  `.execute(database);
  // By its id, also one that has been deleted; by its name, one that is there. With the subjects that it has disabled.
  await sql`
    CREATE FUNCTION find_tenant(which text, is_name boolean) RETURNS TABLE (
      id text, name text, version bigint, quotas jsonb, minimum_tier text, retention_days integer,
      created_at_unix_ms bigint, deleted_at_unix_ms bigint, disabled_subjects text[]
    ) LANGUAGE plpgsql AS $$
    #variable_conflict use_column
    BEGIN
      PERFORM set_config('bulkhead.tenant', CASE WHEN is_name THEN '*' ELSE which END, true);
      IF is_name THEN
        SELECT tenants.id INTO which FROM tenants WHERE tenants.name = which AND tenants.deleted_at_unix_ms IS NULL;
      END IF;
      RETURN QUERY
        SELECT tenants.id, tenants.name, tenants.version, tenants.quotas, tenants.minimum_tier, tenants.retention_days,
          tenants.created_at_unix_ms, tenants.deleted_at_unix_ms, coalesce(authority.disabled_subjects, '{}')
        FROM tenants LEFT JOIN authority ON authority.tenant = tenants.id WHERE tenants.id = which;
    END $$
  `.execute(database);
}
