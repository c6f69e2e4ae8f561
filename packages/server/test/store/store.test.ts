// On real PostgreSQL, of both kinds.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type SessionId, type TurnEvent, type TurnOutcome, makeId } from '@bulkhead/protocol';
import { Kysely, PostgresDialect, sql } from 'kysely';
import { Migrator } from 'kysely/migration';
import { Pool } from 'pg';
import { systemClock } from '../../src/lib/clock.ts';
import { DayKeys } from '../../src/sealing/day-keys.ts';
import type { SessionRecord } from '../../src/sessions/session-record.ts';
import { StoredJournal } from '../../src/sessions/stored-journal.ts';
import { type SessionFilter, StoredSessions, toSessionRow } from '../../src/sessions/stored-sessions.ts';
import { StoredTurns } from '../../src/sessions/stored-turns.ts';
import type { CheckedTurnRequest } from '../../src/sessions/turn-request.ts';
import { LocalKeyFile } from '../../src/snapshots/key-encryption.ts';
import { type NewApiKey, insertKey } from '../../src/store/api-key-store.ts';
import { openDataDirectory } from '../../src/store/data-directory.ts';
import { Database, everyTenant } from '../../src/store/database.ts';
import { type Lease, endLease, renewLease, takeLease } from '../../src/store/lease.ts';
import { createTables } from '../../src/store/migrations/0001-sessions.ts';
import type { Schema } from '../../src/store/schema.ts';
import type { SessionRow } from '../../src/store/session-store.ts';
import { Store } from '../../src/store/store.ts';
import { unbounded } from '../../src/store/tenant-row.ts';
import { sessionRecord } from '../sessions/session-records.ts';
import { type DatabaseKind, type TestDatabase, databaseKinds, openTestDatabase } from './databases.ts';

const host = 'host:test';

for (const kind of databaseKinds) describe(kind, () => suite(kind));

function suite(kind: DatabaseKind): void {
  let path: string;
  let server: TestDatabase;
  let database: Database;
  let lease: Lease;
  let store: Store;
  let turns: StoredTurns;

  before(async () => {
    path = mkdtempSync(join(tmpdir(), 'bulkhead-store-'));
    server = await openTestDatabase(kind);
    database = await Database.open(server.connection, { prepares: kind === 'embedded' });
    lease = await takeLease(database, host, 'one');
    store = new Store(database, lease);
    const encryption = await LocalKeyFile.open(join(path, 'key'), { create: true });
    const keys = new DayKeys({ directory: join(path, 'turn-keys'), host: 'test', encryption, clock: systemClock });
    turns = new StoredTurns(store.turns, keys);
  });

  after(async () => {
    await database[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
    rmSync(path, { recursive: true });
  });

  /** A session of a tenant of its own, which may have as many as it likes. */
  async function newRow(change: Partial<SessionRecord> = {}): Promise<SessionRow> {
    const record = sessionRecord(change);
    const { tenant: id } = record;
    const what = { quotas: unbounded, minimumTier: null, retentionDays: 30, createdAtUnixMs: 1 };
    await store.tenants.ensure({ id, name: id.replace('_', '-'), ...what });
    return toSessionRow(record);
  }

  async function kept(change: Partial<SessionRecord> = {}): Promise<SessionRow & { record: SessionRecord }> {
    const row = await newRow(change);
    await store.sessions.begin([row]);
    return row as SessionRow & { record: SessionRecord };
  }

  test('a generation is written once, by whoever comes first', async () => {
    const first = await kept();
    const second = { ...first, generation: 2, state: 'ready', record: { said: 'NUL \u0000, half a pair \ud800' } };
    await store.sessions.save(second);
    await store.sessions.save(second); // its first answer was lost, say
    await assert.rejects(store.sessions.save({ ...first, generation: 4 }), { code: 'state_conflict' }, 'one left out');
    const found = (await store.sessions.all()).find(({ id }) => id === first.id);
    const { id, tenant, state, generation, record } = second;
    assert.deepEqual(found, { id, tenant, state, generation, record });
  });

  test("a tenant sees no other tenant's rows in any table, and a transaction without a tenant sees none", async () => {
    const [mine, theirs] = [await kept(), await kept()];
    for (const { tenant, id, record } of [mine, theirs]) {
      const turn = { id: makeId('turn'), session: record, request };
      await turns.start(turn);
      await turns.end({ ...turn, tenant: record.tenant, after: null }, [{ seq: 1, type: 'end', outcome }], outcome);
      await store.snapshots.begin({
        id: makeId('snapshot'),
        session: id,
        tenant,
        kind: 'suspend',
        name: null,
        createdAtUnixMs: 1,
      });
      await store.keys.insert(newKey(tenant), 10);
      await store.idempotency.claim({ tenant, subject: 'somebody', key: 'one' }, Buffer.alloc(32), 60_000);
    }
    await store.hosts.advertise('https://here.example');
    // No query below names a tenant: what is seen is what row-level security lets through.
    const tables = {
      sessions: 'tenant',
      turns: 'tenant',
      turn_events: 'tenant',
      snapshots: 'tenant',
      api_keys: 'tenant',
      idempotency_keys: 'tenant',
      tenants: 'id',
    };
    const seenAs = async (tenant: string): Promise<Record<string, readonly string[]>> =>
      await database.transaction(tenant, async (transaction) => {
        const seen: Record<string, readonly string[]> = {};
        for (const [table, whose] of Object.entries(tables)) {
          const { rows } = await sql<{
            whose: string;
          }>`SELECT DISTINCT ${sql.ref(whose)} AS whose FROM ${sql.table(table)}`.execute(transaction);
          seen[table] = rows.map((row) => row.whose).toSorted();
        }
        const { rows } = await sql<{ name: string }>`SELECT name FROM hosts`.execute(transaction);
        return { ...seen, hosts: rows.map(({ name }) => name) };
      });
    const only = (tenant: string): Record<string, readonly string[]> =>
      Object.fromEntries([...Object.keys(tables).map((table) => [table, [tenant]]), ['hosts', []]]);
    assert.deepEqual(await seenAs(mine.tenant), only(mine.tenant));
    assert.deepEqual(await seenAs(theirs.tenant), only(theirs.tenant));
    const nothing = Object.fromEntries([...Object.keys(tables), 'hosts'].map((table) => [table, []]));
    assert.deepEqual(await seenAs(''), nothing);
    const all = await seenAs(everyTenant);
    for (const table of Object.keys(tables)) assert.ok((all[table]?.length ?? 0) >= 2, `the control sees ${table}`);
    assert.deepEqual(all['hosts'], [host]);
    const changed = await database.transaction(mine.tenant, (transaction) =>
      transaction.updateTable('sessions').set({ state: 'failed' }).where('id', '=', theirs.id).executeTakeFirst(),
    );
    assert.equal(changed.numUpdatedRows, 0n);
    await assert.rejects(
      database.transaction(mine.tenant, (transaction) => insertKey(transaction, newKey(theirs.tenant))),
      { code: 'internal' },
      'a row of another tenant is not written either',
    );
  });

  test('every table of tenants has row-level security, forced', async () => {
    const { rows } = await database.transaction(everyTenant, (transaction) =>
      sql<{ name: string }>`
        SELECT relname AS name FROM pg_class
        WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND NOT (relrowsecurity AND relforcerowsecurity)
        ORDER BY 1
      `.execute(transaction),
    );
    assert.deepEqual(
      rows.map(({ name }) => name),
      ['kysely_migration', 'kysely_migration_lock', 'leases'],
    );
  });

  test('what changes with every turn is in no index of the sessions', async () => {
    const rows = await database.query(sql<{ name: string }>`
      SELECT DISTINCT attname AS name FROM pg_index
      JOIN pg_depend ON classid = 'pg_class'::regclass AND objid = indexrelid AND refobjid = indrelid
      JOIN pg_attribute ON attrelid = indrelid AND attnum = refobjsubid
      WHERE indrelid = 'sessions'::regclass ORDER BY 1
    `);
    assert.deepEqual(
      rows.map(({ name }) => name),
      ['created_at_unix_ms', 'ended', 'host', 'id', 'labels', 'tenant'],
    );
  });

  test('a role that row-level security does not bind is refused', async () => {
    await assert.rejects(Database.open({ connectionString: server.superuserUrl }), { code: 'config_invalid' });
  });

  test('what a turn told is kept sealed with its end, all of it or nothing, once', async () => {
    const { record: session } = await kept();
    const { tenant } = session;
    const turn = { id: makeId('turn'), session, request };
    await turns.start(turn);
    await turns.start(turn);
    assert.deepEqual(
      (await store.turns.open()).map(({ id }) => id),
      [turn.id],
    );
    assert.deepEqual(await turns.events(tenant, session.id, turn.id), { items: [], ended: false });
    const events = Array.from(
      { length: 12_000 },
      (_, index) => ({ seq: index + 1, type: 'stdout', text: 'a\u0000\ud800' }) as const,
    );
    const all: readonly TurnEvent[] = [...events, { seq: 12_001, type: 'end', outcome }];
    const next = { ...session, generation: 2, turnCount: 1 };
    await turns.end({ id: turn.id, tenant, after: next }, all, outcome);
    const again = { ...outcome, status: 'error' } as const;
    await turns.end({ id: turn.id, tenant, after: next }, [{ seq: 1, type: 'end', outcome }], again);
    assert.deepEqual((await store.sessions.get(tenant, session.id))?.record, next, 'the session is what came of it');
    assert.deepEqual(await store.turns.open(), []);
    const read = await turns.get(tenant, session.id, turn.id);
    assert.equal(read.state, 'ended');
    assert.equal(read.result?.status, 'ok');
    assert.equal(read.result?.stdout, 'a\u0000\ud800'.repeat(12_000));
    assert.deepEqual(await turns.request(tenant, session.id, turn.id), { ...request, code: 'print(1)' });
    for (const seen of [0, 1, 999, 6500, 11_990, 12_000, 12_001, 20_000]) {
      const page = await turns.events(tenant, session.id, turn.id, { after: seen });
      assert.deepEqual(page, { items: all.slice(seen, seen + 1000), ended: seen + 1000 > 12_000 }, `after ${seen}`);
    }
    await assert.rejects(turns.events(makeId('tenant'), session.id, turn.id), { code: 'not_found' });
    assert.equal(await store.turns.removeEnded(tenant, 1, 10), 0);
    assert.equal(await store.turns.removeEnded(tenant, 0, 10), 1);
    await assert.rejects(turns.events(tenant, session.id, turn.id), { code: 'not_found' });
  });

  test('a turn starts and ends with its session, both or neither', async () => {
    const { record: session } = await kept();
    const { tenant } = session;
    const turn = { id: makeId('turn'), session: { ...session, generation: 3 }, request };
    await assert.rejects(turns.start(turn), { code: 'state_conflict' }, 'a generation is left out');
    await assert.rejects(turns.get(tenant, session.id, turn.id), { code: 'not_found' });
    await turns.start({ ...turn, session: { ...session, generation: 2 } });
    const end = [{ seq: 1, type: 'end', outcome }] as const;
    const leftOut = { ...session, generation: 4 };
    await assert.rejects(turns.end({ id: turn.id, tenant, after: leftOut }, end, outcome), { code: 'state_conflict' });
    assert.equal((await turns.get(tenant, session.id, turn.id)).state, 'running');
    await turns.end({ id: turn.id, tenant, after: null }, end, outcome);
    assert.equal((await store.sessions.get(tenant, session.id))?.generation, 2);
    const never = { id: makeId('turn'), tenant, after: null };
    await assert.rejects(turns.end(never, end, outcome), { code: 'not_found' }, 'one that was never started');
  });

  test('turns are listed oldest first, page by page', async () => {
    const { record: session } = await kept();
    const ids = Array.from({ length: 5 }, () => makeId('turn'));
    for (const id of ids) await turns.start({ id, session, request });
    const seen: string[] = [];
    for (let cursor: string | null | undefined; cursor !== null;) {
      const page = await turns.list(session.tenant, session.id, {
        limit: 2,
        ...(cursor === undefined ? {} : { cursor }),
      });
      seen.push(...page.items.map(({ id }) => id));
      cursor = page.nextCursor;
    }
    assert.deepEqual(seen.toSorted(), ids.toSorted());
    assert.equal(seen.length, 5);
    await assert.rejects(turns.list(session.tenant, session.id, { cursor: 'bm9uZQ' }), { code: 'invalid_request' });
    for (const id of ids) await turns.end({ id, tenant: session.tenant, after: null }, [], outcome);
  });

  test('sessions are listed newest first, without one twice or left out, and by state, label and subject', async () => {
    const sessions = new StoredSessions(store);
    const tenant = makeId('tenant');
    const made: string[] = [];
    for (let index = 0; index < 7; index += 1) {
      // Several of one moment: the id decides.
      const labels = { app: index % 2 === 0 ? 'even' : 'odd', [`only-${index}`]: 'x' };
      made.push(
        (await kept({ tenant, createdAtUnixMs: 1000 + Math.floor(index / 3), labels, subject: `s${index}` })).id,
      );
    }
    const all = async (filter: SessionFilter = {}, limit = 2): Promise<readonly SessionRecord[]> => {
      const found: SessionRecord[] = [];
      for (let cursor: string | null | undefined; cursor !== null;) {
        const page = await sessions.list(tenant, filter, { limit, ...(cursor === undefined ? {} : { cursor }) });
        found.push(...page.items);
        cursor = page.nextCursor;
      }
      return found;
    };
    const listed = await all();
    assert.deepEqual(listed.map(({ id }) => String(id)).toSorted(), made.toSorted());
    assert.deepEqual(
      listed.map(({ createdAtUnixMs }) => createdAtUnixMs),
      [1002, 1001, 1001, 1001, 1000, 1000, 1000],
    );
    assert.equal((await all({ labels: { app: 'even' } })).length, 4);
    assert.equal((await all({ labels: { app: 'odd', 'only-3': null } })).length, 1);
    assert.equal((await all({ labels: { app: "' OR true --" } })).length, 0);
    assert.equal((await all({ subject: 's2' })).length, 1);
    assert.equal((await all({ states: ['creating'] })).length, 7);
    assert.equal((await all({ states: ['suspended', 'ready'] })).length, 0);
    assert.deepEqual((await sessions.list(makeId('tenant'))).items, []);
  });

  test('a checkpoint takes the place of the one of its name when it is complete', async () => {
    const { tenant, id: session } = await kept();
    const make = async (name: string): Promise<readonly string[]> => {
      const snapshot = { id: makeId('snapshot'), session, tenant, kind: 'checkpoint', name, createdAtUnixMs: 5 };
      await store.snapshots.begin(snapshot);
      return await store.snapshots.complete({ ...snapshot, written: { bytes: 10, epoch: 1 } });
    };
    assert.deepEqual(await make('a'), []);
    assert.deepEqual(await make('b'), []);
    assert.equal((await make('a')).length, 1);
    assert.deepEqual((await store.snapshots.list(tenant, session)).map(({ name }) => String(name)).toSorted(), [
      'a',
      'b',
    ]);
  });

  test('the host of a session is told while its server runs', async () => {
    const sessions = new StoredSessions(store);
    const { record } = await kept();
    await store.hosts.advertise('https://one.example');
    assert.deepEqual(await sessions.hostOf(record.tenant, record.id), { here: true, url: 'https://one.example' });
    const lease2 = await takeLease(database, 'host:other', 'other');
    const elsewhere = new Store(database, lease2);
    await elsewhere.hosts.advertise('https://two.example');
    const there = new StoredSessions(elsewhere);
    assert.deepEqual(await there.hostOf(record.tenant, record.id), { here: false, url: 'https://one.example' });
    const theirs = toSessionRow(sessionRecord({ tenant: record.tenant }));
    await elsewhere.sessions.begin([theirs]);
    assert.equal((await sessions.get(record.tenant, theirs.id as SessionId)).id, theirs.id, 'read from here');
    await endLease(database, lease2);
    await assert.rejects(sessions.hostOf(record.tenant, theirs.id as SessionId), { code: 'host_unavailable' });
    await assert.rejects(sessions.hostOf(makeId('tenant'), record.id), { code: 'not_found' });
  });

  test('a server that lost its lease changes nothing any more', async () => {
    await assert.rejects(takeLease(database, host, 'two'), { code: 'data_dir_busy' });
    await renewLease(database, lease);
    await database.transaction(everyTenant, (transaction) =>
      sql`UPDATE leases SET expires_at = clock_timestamp() - interval '1 second' WHERE name = ${host}`.execute(
        transaction,
      ),
    );
    const theirs = await takeLease(database, host, 'two');
    assert.ok(theirs.generation > lease.generation);
    await assert.rejects(kept(), { code: 'state_conflict' });
    await assert.rejects(renewLease(database, lease), { code: 'state_conflict' });
    await endLease(database, theirs);
    lease = await takeLease(database, host, 'one');
    store = new Store(database, lease);
    await kept();
  });

  test('a database that is away is told as that, and what was committed is there when it is back', async (context) => {
    const { embedded } = server;
    if (embedded === undefined) {
      context.skip('only a database of our own is brought back');
      return;
    }
    const committed = await kept();
    const { pid } = embedded;
    assert.ok(pid);
    const late = (await newRow()).record as SessionRecord;
    process.kill(pid, 'SIGKILL');
    // It dies a moment after it was told to: what is asked until then is done.
    const ask = async (): Promise<void> => {
      for (const deadline = performance.now() + 5000; performance.now() < deadline;) {
        await store.sessions.save({ ...committed, generation: 2 });
      }
    };
    await assert.rejects(ask(), { code: 'store_unavailable' });
    const journal = new StoredJournal(store.sessions, turns);
    await journal.beginSessions([late]);
    assert.ok(
      (await store.sessions.all()).some(({ id }) => id === late.id),
      'it tried until the database was back',
    );
    assert.notEqual(embedded.pid, pid);
    assert.ok((await store.sessions.all()).some(({ id }) => id === committed.id));
  });
}

test('a data directory has one owner', async () => {
  const path = mkdtempSync(join(tmpdir(), 'bulkhead-owner-'));
  using _directory = await openDataDirectory(path);
  await assert.rejects(openDataDirectory(path), { code: 'data_dir_busy', details: { pid: process.pid } });
  rmSync(path, { recursive: true });
});

test('a database that has sessions from before there were tenants is brought up to date', async () => {
  await using server = await openTestDatabase('embedded');
  const pool = new Pool(server.connection);
  const old = new Kysely<Schema>({ dialect: new PostgresDialect({ pool }) });
  const first = { '0001-sessions': { up: createTables } };
  await new Migrator({ db: old, provider: { getMigrations: async () => first } }).migrateToLatest();
  const { subject: _subject, labels: _labels, ...record } = sessionRecord({ state: 'suspended', size: 'medium' });
  const turn = makeId('turn');
  await old.transaction().execute(async (transaction) => {
    await sql`SELECT set_config('bulkhead.tenant', '*', true)`.execute(transaction);
    await sql`INSERT INTO sessions (id, tenant, host, state, generation, record)
      VALUES (${record.id}, ${record.tenant}, ${host}, 'suspended', 3, ${JSON.stringify({ ...record, generation: 3 })})`.execute(
      transaction,
    );
    await sql`INSERT INTO turns (id, session, tenant, request, outcome, ended_at)
      VALUES (${turn}, ${record.id}, ${record.tenant}, '{}', ${JSON.stringify(outcome)}, now())`.execute(transaction);
    for (const [sequence, event] of [
      { seq: 1, type: 'stdout', text: 'old \u0000' },
      { seq: 2, type: 'end', outcome },
    ].entries()) {
      await sql`INSERT INTO turn_events (turn, tenant, sequence, event)
        VALUES (${turn}, ${record.tenant}, ${sequence}, ${JSON.stringify(event)})`.execute(transaction);
    }
  });
  await old.destroy();
  await using database = await Database.open(server.connection);
  const lease = await takeLease(database, host, 'one');
  const store = new Store(database, lease);
  const path = mkdtempSync(join(tmpdir(), 'bulkhead-old-'));
  const encryption = await LocalKeyFile.open(join(path, 'key'), { create: true });
  const keys = new DayKeys({ directory: join(path, 'k'), host: 'test', encryption, clock: systemClock });
  const turns = new StoredTurns(store.turns, keys);
  const found = await new StoredSessions(store).get(record.tenant, record.id);
  assert.deepEqual([found.subject, found.labels, found.generation], ['local', {}, 3]);
  assert.equal((await turns.get(record.tenant, record.id, turn)).result?.stdout, 'old \u0000');
  assert.deepEqual(
    (await turns.events(record.tenant, record.id, turn, { after: 1 })).items.map(({ type }) => type),
    ['end'],
  );
  await store.sessions.save(toSessionRow({ ...found, state: 'resuming', generation: 4 }));
  assert.equal((await store.tenants.get(record.tenant))?.quotas.sessions, unbounded.sessions);
  rmSync(path, { recursive: true });
});

const request: CheckedTurnRequest = {
  code: new TextEncoder().encode('print(1)'),
  language: 'python',
  context: 'default',
  timeoutMs: 1000,
};
const outcome: TurnOutcome = { status: 'ok', error: null, exception: null, context: 'kept', guestMs: 1, turnMs: 2 };

function newKey(tenant: string): NewApiKey {
  const what = { name: 'k', subject: 'somebody', scopes: [], hash: Buffer.alloc(32), expiresAtUnixMs: null };
  return { id: makeId('key'), tenant, ...what, createdAtUnixMs: 1 };
}
