// What outlives a process, put together as the command does: a real PostgreSQL, files, keys; the fake runtime.

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { makeId } from '@bulkhead/protocol';
import { type Config, loadConfig } from '../src/config/config.ts';
import { type Keeping, keepSessions } from '../src/keep-sessions.ts';
import { systemClock } from '../src/lib/clock.ts';
import { FakeRuntime } from '../src/runtimes/fake/fake-runtime.ts';
import { Sessions } from '../src/sessions/sessions.ts';
import { openDataDirectory } from '../src/store/data-directory.ts';
import { EmbeddedPostgres } from '../src/store/embedded-postgres.ts';
import { localTenant } from '../src/tenants/local-tenant.ts';

const root = mkdtempSync(join(tmpdir(), 'bulkhead-keep-'));
after(() => rmSync(root, { recursive: true }));
const tenant = localTenant;

function configOf(name: string, databaseUrl?: string): Config {
  return loadConfig({
    HOME: root,
    BULKHEAD_STATE_DIR: join(root, name),
    ...(databaseUrl === undefined ? {} : { DATABASE_URL: databaseUrl }),
  });
}

function open(keeping: Keeping, runtime = new FakeRuntime({ clock: systemClock })): Sessions {
  const sessions = new Sessions({ runtimes: [runtime], journal: keeping.journal, keeper: keeping.snapshots });
  for (const record of keeping.recovery.sessions) sessions.takeUp(record);
  return sessions;
}

test('without its key file nothing is opened, and no other one is made in its place', async () => {
  const config = configOf('keys');
  const runtime = new FakeRuntime({ clock: systemClock });
  {
    await using keeping = await keepSessions(config);
    await using sessions = open(keeping, runtime);
    await sessions.createSession({ tenant });
  }
  const key = readFileSync(config.keyFile);
  unlinkSync(config.keyFile);
  await assert.rejects(keepSessions(config), { code: 'key_unavailable' });
  assert.ok(!readdirSync(config.stateDir).includes('key'));
  writeFileSync(config.keyFile, Buffer.alloc(32, 1), { mode: 0o600 });
  {
    await using keeping = await keepSessions(config);
    await using sessions = open(keeping, runtime);
    const [asleep] = sessions.listSessions(tenant);
    assert.ok(asleep);
    await assert.rejects(sessions.resumeSession(tenant, asleep.id), { code: 'key_unavailable' });
    assert.equal(sessions.getSession(tenant, asleep.id).state, 'suspended');
  }
  writeFileSync(config.keyFile, key, { mode: 0o600 });
  await using keeping = await keepSessions(config);
  await using sessions = open(keeping, runtime);
  const [asleep] = sessions.listSessions(tenant);
  assert.ok(asleep);
  assert.equal((await sessions.resumeSession(tenant, asleep.id)).state, 'ready');
});

test('two hosts share a database by its URL, and each has its own sessions', async () => {
  const directory = join(root, 'database');
  using data = await openDataDirectory(directory);
  await using postgres = await EmbeddedPostgres.start(data.path, data.lockFd);
  const { user = '', database = '', host = '' } = postgres.connection;
  const url = `postgresql://${user}@localhost/${database}?host=${encodeURIComponent(host)}`;
  await using one = await keepSessions(configOf('one', url));
  await using two = await keepSessions(configOf('two', url));
  await using ours = open(one);
  await using theirs = open(two);
  const { id } = await ours.createSession({ tenant });
  await theirs.createSession({ tenant });
  assert.deepEqual(
    (await one.store.sessions.all()).map((row) => row.id),
    [id],
  );
  assert.notEqual(one.store.host, two.store.host);
  assert.ok(!readdirSync(join(root, 'one')).includes('postgres'), 'no database of its own');
});

test('files and keys of nobody are removed at the next start', async () => {
  const config = configOf('orphans');
  {
    await using _keeping = await keepSessions(config);
  }
  const nobody = makeId('session');
  mkdirSync(join(config.stateDir, 'keys'), { recursive: true });
  writeFileSync(join(config.stateDir, 'keys', `${nobody}.key`), 'old');
  mkdirSync(join(config.stateDir, 'snapshots', nobody), { recursive: true });
  writeFileSync(join(config.stateDir, 'snapshots', nobody, makeId('snapshot')), 'old');
  await using keeping = await keepSessions(config);
  assert.equal(keeping.recovery.removed, 2);
  assert.deepEqual(readdirSync(join(config.stateDir, 'keys')), []);
  assert.deepEqual(readdirSync(join(config.stateDir, 'snapshots')), []);
});

test('a database that cannot be reached is told as that', async () => {
  const unreachable = 'postgresql://nobody:secret@127.0.0.1:1/none';
  await assert.rejects(keepSessions(configOf('away', unreachable)), (error: Error) => {
    assert.equal((error as { code?: string }).code, 'store_unavailable');
    assert.ok(!JSON.stringify(error).includes('secret') && !error.message.includes('secret'));
    return true;
  });
});
