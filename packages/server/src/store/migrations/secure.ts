import { type Kysely, sql } from 'kysely';

/** Rows are seen by the tenant in `column`, and in the operator's own work; without a column, only there. */
export async function secure(database: Kysely<unknown>, name: string, column: string | undefined): Promise<void> {
  const table = sql.table(name);
  const whose = column === undefined ? sql`'*'` : sql`${sql.ref(column)}, '*'`;
  await sql`ALTER TABLE ${table} ENABLE ROW LEVEL SECURITY`.execute(database);
  await sql`ALTER TABLE ${table} FORCE ROW LEVEL SECURITY`.execute(database);
  await sql`CREATE POLICY tenant ON ${table} USING (current_setting('bulkhead.tenant', true) IN (${whose}))`.execute(
    database,
  );
}
