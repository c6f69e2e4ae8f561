// On a real PostgreSQL: the one that Bulkhead starts itself.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { makeId } from '@bulkhead/protocol';
import { sql } from 'kysely';
import { type DataDirectory, openDataDirectory } from '../../src/store/data-directory.ts';
import { Database, everyTenant } from '../../src/store/database.ts';
import { EmbeddedPostgres } from '../../src/store/embedded-postgres.ts';
import { type Lease, endLease, renewLease, takeLease } from '../../src/store/lease.ts';
import type { SessionRecord } from '../../src/sessions/session-record.ts';
import { StoredJournal } from '../../src/sessions/stored-journal.ts';
import { type SessionRow, Store } from '../../src/store/store.ts';

const path = mkdtempSync(join(tmpdir(), 'bulkhead-store-'));
const host = 'host:test';
let directory: DataDirectory;
let postgres: EmbeddedPostgres;
let database: Database;
let lease: Lease;
let store: Store;

before(async () => {
  directory = await openDataDirectory(path);
  postgres = await EmbeddedPostgres.start(path, directory.lockFd);
  database = await Database.open(postgres.connection);
  lease = await takeLease(database, host, 'one');
  store = new Store(database, lease);
});

after(async () => {
  await database[Symbol.asyncDispose]();
  await postgres[Symbol.asyncDispose]();
  directory[Symbol.dispose]();
  rmSync(path, { recursive: true });
});

function row(change: Partial<SessionRow> = {}): SessionRow {
  return { id: makeId('session'), tenant: makeId('tenant'), state: 'creating', generation: 1, record: {}, ...change };
}

test('a generation is written once, by whoever comes first', async () => {
  const first = row();
  await store.saveSession(first);
  const second = { ...first, generation: 2, state: 'ready', record: { said: 'NUL \u0000, half a pair \ud800' } };
  await store.saveSession(second);
  await store.saveSession(second); // its first answer was lost, say
  await assert.rejects(store.saveSession({ ...first, generation: 4 }), { code: 'state_conflict' }, 'one was left out');
  const found = (await store.sessions()).find(({ id }) => id === first.id);
  assert.deepEqual(found, second);
});

test("a tenant sees no other tenant's rows, and a transaction without a tenant sees none", async () => {
  const [mine, theirs] = [row(), row()];
  for (const each of [mine, theirs]) await store.saveSession(each);
  const seen = await database.transaction(mine.tenant, (transaction) =>
    transaction.selectFrom('sessions').select('id').execute(),
  );
  assert.deepEqual(
    seen.map(({ id }) => id),
    [mine.id],
  );
  const changed = await database.transaction(mine.tenant, (transaction) =>
    transaction.updateTable('sessions').set({ state: 'failed' }).where('id', '=', theirs.id).executeTakeFirst(),
  );
  assert.equal(changed.numUpdatedRows, 0n);
  const nobody = await database.transaction('', (transaction) =>
    transaction.selectFrom('sessions').selectAll().execute(),
  );
  assert.deepEqual(nobody, []);
  const foreign = { ...row(), tenant: theirs.tenant };
  await assert.rejects(
    database.transaction(mine.tenant, (transaction) =>
      transaction
        .insertInto('sessions')
        .values({ ...foreign, host, generation: 1, record: '{}' })
        .execute(),
    ),
    { code: 'internal' },
  );
  const [{ bypass } = { bypass: true }] = await database.transaction(everyTenant, async (transaction) => {
    const { rows } = await sql<{ bypass: boolean }>`
      SELECT rolsuper OR rolbypassrls AS bypass FROM pg_roles WHERE rolname = current_user
    `.execute(transaction);
    return rows;
  });
  assert.equal(bypass, false, 'the policies bind whoever asks');
});

test('what a turn told is kept with its end, all of it or nothing, once', async () => {
  const session = row();
  await store.saveSession(session);
  const turn = { id: makeId('turn'), session: session.id, tenant: session.tenant, request: { code: 'print(1)' } };
  await store.startTurn(turn);
  await store.startTurn(turn);
  assert.deepEqual(
    (await store.openTurns()).map(({ id }) => id),
    [turn.id],
  );
  const events = Array.from({ length: 12_000 }, (_, index) => ({ index, text: 'a\u0000b' }));
  await store.endTurn({ ...turn, outcome: { status: 'ok' } }, events);
  await store.endTurn({ ...turn, outcome: { status: 'error' } }, [{ late: true }]);
  assert.deepEqual(await store.openTurns(), []);
  const [kept] = await store.turns(session.tenant, session.id);
  assert.deepEqual(kept?.outcome, { status: 'ok' });
  assert.deepEqual(await store.turnEvents(session.tenant, turn.id, 11_990), events.slice(11_990));
  assert.deepEqual(await store.turnEvents(makeId('tenant'), turn.id), []);
  assert.equal(await store.forgetTurns(1), 0);
  assert.ok((await store.forgetTurns(0)) >= 1);
  assert.deepEqual(await store.turnEvents(session.tenant, turn.id), []);
});

test('a checkpoint takes the place of the one of its name when it is complete', async () => {
  const session = row();
  await store.saveSession(session);
  const { tenant } = session;
  const make = async (name: string): Promise<readonly string[]> => {
    const snapshot = {
      id: makeId('snapshot'),
      session: session.id,
      tenant,
      kind: 'checkpoint',
      name,
      createdAtUnixMs: 5,
    };
    await store.beginSnapshot(snapshot);
    return await store.completeSnapshot({ ...snapshot, written: { bytes: 10, epoch: 1 } });
  };
  assert.deepEqual(await make('a'), []);
  assert.deepEqual(await make('b'), []);
  assert.equal((await make('a')).length, 1);
  assert.deepEqual((await store.snapshots(tenant, session.id)).map(({ name }) => String(name)).toSorted(), ['a', 'b']);
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
  await assert.rejects(store.saveSession(row()), { code: 'state_conflict' });
  await assert.rejects(renewLease(database, lease), { code: 'state_conflict' });
  await endLease(database, theirs);
  lease = await takeLease(database, host, 'one');
  store = new Store(database, lease);
  await store.saveSession(row());
});

test('a database that is away is told as that, and what was committed is there when it is back', async () => {
  const kept = row();
  await store.saveSession(kept);
  const { pid } = postgres;
  assert.ok(pid);
  process.kill(pid, 'SIGKILL');
  await assert.rejects(store.saveSession(row()), { code: 'store_unavailable' });
  const journal = new StoredJournal(store);
  const late = { ...row(), generation: 1 };
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what the journal looks at
  await journal.saveSession(late as unknown as SessionRecord);
  assert.ok(
    (await store.sessions()).some(({ id }) => id === late.id),
    'it tried until the database was back',
  );
  assert.notEqual(postgres.pid, pid);
  assert.ok((await store.sessions()).some(({ id }) => id === kept.id));
});

test('a data directory has one owner', async () => {
  await assert.rejects(openDataDirectory(path), { code: 'data_dir_busy', details: { pid: process.pid } });
});
