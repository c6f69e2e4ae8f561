// A database of two tenants, each with a login of its own, and their tools: what tests of tools share.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, type ClientConfig } from 'pg';
import { openDataDirectory } from '../../src/store/data-directory.ts';
import { EmbeddedPostgres } from '../../src/store/embedded-postgres.ts';
import { SqlTool, type SqlToolOptions, sqlBoundsDefault } from '../../src/tools/sql/sql-tool.ts';

/** In a row of globex. */
export const canary = 'canary-of-globex';

export interface Portfolio extends AsyncDisposable {
  /** As the superuser. */
  readonly admin: Client;
  login(user: string): ClientConfig;
  openTool(user: string, change?: Partial<SqlToolOptions>): Promise<SqlTool>;
}

export async function openPortfolio(): Promise<Portfolio> {
  await using opening = new AsyncDisposableStack();
  const path = mkdtempSync(join(tmpdir(), 'bulkhead-sql-'));
  opening.defer(() => rmSync(path, { recursive: true }));
  const directory = opening.use(await openDataDirectory(path));
  const postgres = opening.use(await EmbeddedPostgres.start(path, directory.lockFd));
  const login = (user: string, database = 'portfolio'): ClientConfig => ({ ...postgres.connection, user, database });
  const root = new Client(login('postgres', 'postgres'));
  await root.connect();
  await root.query('CREATE DATABASE portfolio');
  await root.end();
  const admin = new Client(login('postgres'));
  await admin.connect();
  opening.defer(() => admin.end());
  await admin.query(`
    CREATE ROLE acme LOGIN; CREATE ROLE globex LOGIN; CREATE ROLE broad LOGIN IN ROLE acme, globex; CREATE ROLE above LOGIN BYPASSRLS;
    REVOKE ALL ON SCHEMA public FROM PUBLIC; REVOKE TEMPORARY ON DATABASE portfolio FROM PUBLIC;
    CREATE TABLE positions (tenant text NOT NULL, symbol text NOT NULL, quantity integer NOT NULL, note text);
    ALTER TABLE positions ENABLE ROW LEVEL SECURITY; ALTER TABLE positions FORCE ROW LEVEL SECURITY;
    CREATE POLICY own ON positions USING (tenant = session_user) WITH CHECK (tenant = session_user);
    GRANT USAGE ON SCHEMA public TO acme, globex, broad, above; GRANT SELECT ON positions TO acme, globex, broad, above;
    INSERT INTO positions VALUES ('acme', 'DAX', 10, 'mine'), ('acme', 'SMI', 20, NULL), ('globex', 'CAC', 30, '${canary}');
  `);
  const open = opening.move();
  return {
    admin,
    login,
    openTool: (user, change = {}) =>
      SqlTool.open({
        name: 'positions',
        description: 'positions of the portfolio',
        database: 'portfolio',
        connect: () => Promise.resolve(login(user)),
        queries: {
          by_symbol: {
            description: 'one symbol',
            sql: 'SELECT symbol, quantity FROM positions WHERE symbol = $1',
            parameters: { symbol: { kind: 'name', description: 'which' } },
          },
        },
        freeQueries: true,
        writes: false,
        bounds: sqlBoundsDefault,
        ...change,
      }),
    [Symbol.asyncDispose]: () => open.disposeAsync(),
  };
}
