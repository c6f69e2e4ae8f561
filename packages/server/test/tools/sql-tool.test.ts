// A tenant's SQL against a real PostgreSQL: what it may read, and every road to the other tenant's rows.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { BulkheadError, makeId } from '@bulkhead/protocol';
import { canonicalize } from '../../src/authority/arguments.ts';
import { type SqlTool, sqlBoundsDefault } from '../../src/tools/sql/sql-tool.ts';
import { type Portfolio, canary, openPortfolio } from './portfolio.ts';

let portfolio: Portfolio;
before(async () => {
  portfolio = await openPortfolio();
});
after(async () => {
  await portfolio[Symbol.asyncDispose]();
});

const context = { tenant: makeId('tenant'), session: makeId('session'), subject: 'agent' };

async function call(
  tool: SqlTool,
  operation: string,
  value: Record<string, string>,
  signal = new AbortController().signal,
) {
  const answer = await tool.call(operation, canonicalize(value), { ...context, signal });
  assert.equal(answer.kind, 'value');
  return answer.value as { columns: readonly unknown[]; rows: readonly (readonly unknown[])[]; rowCount: number };
}

test('named and free statements answer with the tenant’s rows', async () => {
  await using acme = await portfolio.openTool('acme');
  await using globex = await portfolio.openTool('globex');
  assert.deepEqual((await call(acme, 'by_symbol', { symbol: 'DAX' })).rows, [['DAX', 10]]);
  assert.deepEqual((await call(acme, 'by_symbol', { symbol: "x' OR '1'='1" })).rows, []);
  assert.deepEqual(
    (
      await call(acme, 'query', {
        sql: 'SELECT count(*)::int, true, 1.5::float8, 12345678901234567890, NULL FROM positions',
      })
    ).rows,
    [[2, true, 1.5, '12345678901234567890', null]],
  );
  // The canary is there to be seen, by the one whose it is.
  assert.deepEqual((await call(globex, 'query', { sql: 'SELECT note FROM positions' })).rows, [[canary]]);
});

const attacks: readonly string[] = [
  'SELECT * FROM positions',
  "SELECT * FROM positions WHERE tenant = 'globex'",
  'SET ROLE globex',
  'SET SESSION AUTHORIZATION globex',
  'RESET ROLE',
  'RESET SESSION AUTHORIZATION',
  "SELECT set_config('role', 'globex', false), * FROM positions",
  "SELECT set_config('session_authorization', 'globex', false), * FROM positions",
  "SELECT set_config('row_security', 'off', false), * FROM positions",
  'SET row_security = off',
  'ALTER TABLE positions DISABLE ROW LEVEL SECURITY',
  'DROP POLICY own ON positions',
  "CREATE FUNCTION f() RETURNS SETOF positions LANGUAGE sql SECURITY DEFINER AS 'SELECT * FROM positions'",
  'CREATE TEMP VIEW v AS SELECT * FROM positions',
  'CREATE SCHEMA acme',
  "SET search_path = 'pg_temp, public'",
  'COPY positions TO STDOUT',
  "COPY positions TO PROGRAM 'cat'",
  "COPY (SELECT * FROM positions) TO '/tmp/x'",
  "SELECT pg_read_file('/etc/passwd')",
  "SELECT pg_ls_dir('.')",
  "SELECT lo_import('/etc/passwd')",
  'SELECT * FROM pg_largeobject',
  'SELECT lo_get(1)',
  'SELECT 1; SELECT * FROM positions',
  'SELECT 1; SET ROLE globex; SELECT * FROM positions',
  '/* */ SELECT /*+ */ * FROM positions -- globex',
  "PREPARE p AS SELECT * FROM positions WHERE tenant = 'globex'",
  'EXECUTE p',
  "DO $$ BEGIN PERFORM set_config('role', 'globex', true); RAISE EXCEPTION '%', (SELECT note FROM positions WHERE tenant = 'globex'); END $$",
  "DO $$ BEGIN EXECUTE 'SET ROLE globex'; END $$",
  'DO $$ BEGIN COMMIT; END $$',
  'COMMIT',
  'ROLLBACK',
  'SET TRANSACTION READ WRITE',
  'SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE',
  "INSERT INTO positions VALUES ('acme', 'X', 1, NULL)",
  "UPDATE positions SET note = 'x'",
  'DELETE FROM positions',
  'TRUNCATE positions',
  'LOCK TABLE positions IN ACCESS EXCLUSIVE MODE',
  'SELECT * FROM positions FOR UPDATE',
  'LISTEN x',
  "NOTIFY x, 'y'",
  'CREATE EXTENSION dblink',
  "SELECT * FROM dblink('dbname=portfolio user=globex', 'SELECT * FROM positions') AS t(a text)",
  'SELECT pg_terminate_backend(pid) FROM pg_stat_activity',
  'SELECT query FROM pg_stat_activity',
  'SELECT most_common_vals::text FROM pg_stats',
  'SELECT * FROM pg_statistic',
  'SELECT * FROM pg_authid',
  'SELECT * FROM pg_shadow',
  "SELECT 1/(CASE WHEN (SELECT count(*) FROM positions WHERE tenant = 'globex') > 0 THEN 0 ELSE 1 END)",
  "SELECT CAST(note AS integer) FROM positions WHERE note LIKE 'canary%'",
  'EXPLAIN ANALYZE SELECT * FROM positions',
  'SHOW ALL',
  '',
  ';',
  '--',
];

test(`${attacks.length} roads to the other tenant's rows lead nowhere, and nothing of it stays`, async () => {
  await portfolio.admin.query('ANALYZE positions');
  await using acme = await portfolio.openTool('acme', { bounds: { ...sqlBoundsDefault, timeoutMs: 3000 } });
  for (const sql of attacks) {
    let told: string;
    try {
      told = JSON.stringify(await call(acme, 'query', { sql }));
    } catch (error) {
      assert.ok(BulkheadError.is(error), sql);
      assert.notEqual(error.code, 'internal', sql);
      told = JSON.stringify(error);
    }
    assert.ok(!told.includes(canary) && !told.includes('"CAC"'), `${sql}: ${told}`);
    // The next call is as the first.
    assert.deepEqual(
      (await call(acme, 'query', { sql: 'SELECT current_user, session_user, count(*)::int FROM positions' })).rows,
      [['acme', 'acme', 2]],
      sql,
    );
  }
  const { rows } = await portfolio.admin.query('SELECT tenant, symbol FROM positions ORDER BY 1, 2');
  assert.equal(rows.length, 3);
});

test('a statement that takes too long or says too much is cut, and says so', async () => {
  const bounds = { timeoutMs: 2000, rowsMaxCount: 1000, bytesMax: 1_000_000 };
  await using acme = await portfolio.openTool('acme', { bounds });
  const cut: readonly (readonly [string, string])[] = [
    ['SELECT pg_sleep(60)', 'tool_timeout'],
    ["SELECT set_config('statement_timeout', '0', false), pg_sleep(60)", 'tool_timeout'],
    ['DO $$ BEGIN SET LOCAL statement_timeout = 0; PERFORM pg_sleep(60); END $$', 'tool_timeout'],
    ['SELECT count(*) FROM generate_series(1, 10000000000)', 'tool_timeout'],
    ['SELECT * FROM generate_series(1, 1001)', 'limit_exceeded'],
    ["SELECT repeat('x', 100000000)", 'limit_exceeded'],
    ["SELECT repeat('x', 10000) FROM generate_series(1, 900)", 'limit_exceeded'],
    ["DO $$ BEGIN FOR i IN 1..100000 LOOP RAISE NOTICE '%', repeat('x', 1000); END LOOP; END $$", 'limit_exceeded'],
  ];
  for (const [sql, code] of cut) {
    const started = performance.now();
    const { rss } = process.memoryUsage();
    await assert.rejects(call(acme, 'query', { sql }), { code }, sql);
    assert.ok(performance.now() - started < 10_000, sql);
    assert.ok(process.memoryUsage().rss - rss < 64_000_000, sql);
  }
  assert.equal((await call(acme, 'query', { sql: 'SELECT * FROM generate_series(1, 1000)' })).rowCount, 1000);
  const stop = new AbortController();
  const slow = call(acme, 'query', { sql: 'SELECT pg_sleep(60)' }, stop.signal);
  stop.abort();
  await assert.rejects(slow, { code: 'cancelled' });
});

test('a login that could do more than its tenant is refused before it is used', async () => {
  const refused = async (user: string): Promise<string> => {
    const error: unknown = await portfolio.openTool(user).then(
      () => undefined,
      (failure: unknown) => failure,
    );
    assert.ok(BulkheadError.is(error, 'invalid_request'), `${user} is refused`);
    return error.message;
  };
  assert.match(await refused('postgres'), /superuser/);
  assert.match(await refused('broad'), /member of acme, globex/);
  assert.match(await refused('above'), /bypasses row-level security/);
  await portfolio.admin.query('CREATE TABLE open_house (a int); GRANT SELECT ON open_house TO acme');
  assert.match(await refused('acme'), /no row-level security on open_house/);
  await portfolio.admin.query('DROP TABLE open_house');
  await portfolio.admin.query(
    `CREATE FUNCTION all_of_it() RETURNS SETOF positions LANGUAGE sql SECURITY DEFINER AS 'SELECT * FROM positions'`,
  );
  assert.match(await refused('acme'), /all_of_it\(\)/);
  await portfolio.admin.query('DROP FUNCTION all_of_it()');
  await using _fine = await portfolio.openTool('acme');
});
