// A session changes with every turn, in columns that no index has any more: PostgreSQL then writes the new row beside the old one and touches no index.

import { type Kysely, sql } from 'kysely';

export async function changeSessionsInPlace(database: Kysely<unknown>): Promise<void> {
  await sql`
    ALTER TABLE sessions
      ADD COLUMN ended boolean NOT NULL GENERATED ALWAYS AS (state IN ('terminated', 'failed')) STORED
  `.execute(database);
  await sql`DROP INDEX sessions_by_host, sessions_alive`.execute(database);
  await sql`CREATE INDEX sessions_by_host ON sessions (host, ended)`.execute(database);
  await sql`CREATE INDEX sessions_alive ON sessions (tenant) WHERE NOT ended`.execute(database);
  // Room for the next rows in each page.
  await sql`ALTER TABLE sessions SET (fillfactor = 50)`.execute(database);
}
