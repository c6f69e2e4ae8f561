// What a tenant may have, decided where its sessions are kept: several servers on one database, of both kinds.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type BulkheadError, type Quotas, type TenantId, makeId } from '@bulkhead/protocol';
import { sql } from 'kysely';
import type { SessionRecord } from '../../src/sessions/session-record.ts';
import { toSessionRow } from '../../src/sessions/stored-sessions.ts';
import { Database, everyTenant } from '../../src/store/database.ts';
import { takeLease } from '../../src/store/lease.ts';
import type { SessionRow } from '../../src/store/session-store.ts';
import { Store } from '../../src/store/store.ts';
import { sessionRecord } from '../sessions/session-records.ts';
import { type DatabaseKind, type TestDatabase, databaseKinds, openTestDatabase } from './databases.ts';

for (const kind of databaseKinds) describe(kind, () => suite(kind));

function suite(kind: DatabaseKind): void {
  let server: TestDatabase;
  let databases: readonly [Database, Database];
  let one: Store;
  let two: Store;

  before(async () => {
    server = await openTestDatabase(kind);
    const open = (): Promise<Database> => Database.open(server.connection, { prepares: kind === 'embedded' });
    databases = [await open(), await open()];
    one = new Store(databases[0], await takeLease(databases[0], 'host:one', 'one'));
    two = new Store(databases[1], await takeLease(databases[1], 'host:two', 'two'));
  });

  after(async () => {
    for (const database of databases) await database[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
  });

  async function newTenant(quotas: Partial<Quotas> = {}, minimumTier: string | null = null): Promise<TenantId> {
    const id = makeId('tenant');
    const what = { id, name: id.replace('_', '-'), retentionDays: 30, createdAtUnixMs: 1 };
    // What is not said has no bound, as in a row of before there was that quota.
    assert.ok(await one.tenants.insert({ ...what, minimumTier, quotas: quotas as Quotas }));
    return id;
  }

  function newRow(tenant: TenantId, change: Partial<SessionRecord> = {}): SessionRow {
    return toSessionRow(sessionRecord({ tenant, ...change }));
  }

  async function countOf(tenant: TenantId): Promise<number> {
    return (await one.sessions.page(tenant, { limit: 1000 })).length;
  }

  async function asleep(store: Store, tenant: TenantId): Promise<SessionRow> {
    const row = newRow(tenant);
    await store.sessions.begin([row]);
    const suspended = { ...row, state: 'suspended', generation: 2 };
    await store.sessions.save(suspended);
    return suspended;
  }

  /** How many were kept; the others were refused with that code and those details. */
  async function settle(work: readonly Promise<void>[], code: string, details: unknown): Promise<number> {
    const settled = await Promise.allSettled(work);
    for (const outcome of settled) {
      if (outcome.status === 'fulfilled') continue;
      const error = outcome.reason as BulkheadError;
      assert.deepEqual([error.code, error.details], [code, details], String(error));
    }
    return settled.filter(({ status }) => status === 'fulfilled').length;
  }

  test('as many as there may be are begun, however many two servers begin at once', async () => {
    for (const [quota, maximum, fit] of [
      ['sessions', 7, 7],
      ['machines', 5, 5],
      ['memoryMib', 2000, 3],
      ['diskMib', 2048 * 4, 4],
    ] as const) {
      const tenant = await newTenant({ [quota]: maximum });
      const work = Array.from({ length: 40 }, (_, index) =>
        (index % 2 === 0 ? one : two).sessions.begin([newRow(tenant)]),
      );
      assert.equal(await settle(work, 'quota_exceeded', { quota, maximum }), fit);
      assert.equal(await countOf(tenant), fit);
    }
  });

  test('as many are woken as may have machines, however many are woken at once', async () => {
    const tenant = await newTenant({ machines: 2 });
    const sleepers = [];
    for (let index = 0; index < 12; index += 1) {
      const store = index % 2 === 0 ? one : two;
      sleepers.push([store, await asleep(store, tenant)] as const);
    }
    const work = sleepers.map(([store, row]) => store.sessions.save({ ...row, state: 'resuming', generation: 3 }));
    assert.equal(await settle(work, 'quota_exceeded', { quota: 'machines', maximum: 2 }), 2);
    const kept = await one.sessions.page(tenant, { limit: 100 });
    const told = kept.map(({ state, generation }) => `${state} ${generation}`);
    assert.deepEqual(told.filter((each) => each === 'resuming 3').length, 2);
    assert.deepEqual(told.filter((each) => each === 'suspended 2').length, 10, 'what was refused is as it was');
  });

  test('one that has a machine already is not counted again when it is put back to a checkpoint', async () => {
    const tenant = await newTenant({ machines: 1 });
    const row = newRow(tenant);
    await one.sessions.begin([row]);
    await one.sessions.save({ ...row, state: 'ready', generation: 2 });
    await one.tenants.update(tenant, undefined, (was) => ({ ...was, quotas: { ...was.quotas, machines: 0 } }));
    await one.sessions.save({ ...row, state: 'resuming', generation: 3 });
    assert.equal((await one.sessions.get(tenant, row.id))?.state, 'resuming');
  });

  test('several are begun all together or not at all', async () => {
    const tenant = await newTenant({ sessions: 3 });
    await one.sessions.begin([newRow(tenant)]);
    const rows = Array.from({ length: 3 }, () => newRow(tenant));
    await assert.rejects(one.sessions.begin(rows), { code: 'quota_exceeded' });
    assert.equal(await countOf(tenant), 1);
    await one.sessions.begin(rows.slice(1));
    assert.equal(await countOf(tenant), 3);
  });

  test('a second time changes nothing, and counts for nothing', async () => {
    const tenant = await newTenant({ sessions: 1 });
    const row = newRow(tenant);
    await one.sessions.begin([row]);
    await one.sessions.save({ ...row, state: 'ready', generation: 2 });
    await one.sessions.begin([row]); // its first answer was lost, say
    assert.deepEqual([(await one.sessions.get(tenant, row.id))?.state, await countOf(tenant)], ['ready', 1]);
  });

  test('what is begun is kept as it was given', async () => {
    const tenant = await newTenant();
    const labels = { 'a"b': 'c\\d,{e}', empty: '', null: 'NULL' };
    const said = { said: 'NUL \u0000, half a pair \ud800, "quotes", {braces}, NULL' };
    const rows = [newRow(tenant), newRow(tenant)].map((row) => ({ ...row, labels, subject: '{a,"b"}', record: said }));
    await two.sessions.begin(rows);
    const found = await one.sessions.page(tenant, { subject: '{a,"b"}', labels, limit: 10 });
    assert.deepEqual(
      found.map(({ record }) => record),
      [said, said],
    );
    assert.deepEqual(found.map(({ id }) => id).toSorted(), rows.map(({ id }) => id).toSorted());
  });

  test('a tenant that is not there, or is there no more, has no session', async () => {
    const tenant = makeId('tenant');
    const refused = { code: 'not_found', message: `There is no tenant ${tenant}.` };
    await assert.rejects(one.sessions.begin([newRow(tenant)]), refused);
    const gone = await newTenant();
    const sleeper = await asleep(one, gone);
    await two.tenants.markDeleted(gone, undefined, 1);
    await assert.rejects(one.sessions.begin([newRow(gone)]), { code: 'not_found' });
    await assert.rejects(one.sessions.save({ ...sleeper, state: 'resuming', generation: 3 }), { code: 'not_found' });
    assert.deepEqual(
      (await one.sessions.page(gone, { limit: 10 })).map(({ state }) => state),
      ['suspended'],
    );
  });

  test('a tier that is too weak is refused, and so is one that nobody knows', async () => {
    const tenant = await newTenant({}, 'vm-emulated');
    for (const tier of ['user-kernel', 'none', 'unheard-of'] as const) {
      const row = { ...newRow(tenant), tier };
      const details = { tier, minimumTier: 'vm-emulated' };
      await assert.rejects(one.sessions.begin([{ ...row, id: makeId('session'), tier: 'vm-kvm' }, row]), {
        code: 'host_unsupported',
        details,
      });
      assert.equal(await countOf(tenant), 0);
    }
    for (const tier of ['vm-kvm', 'vm-emulated']) await one.sessions.begin([{ ...newRow(tenant), tier }]);
    const loose = await newTenant();
    const [sleeper, another] = [await asleep(one, loose), await asleep(one, loose)];
    await one.sessions.save({ ...sleeper, state: 'resuming', generation: 3 });
    await two.tenants.update(loose, undefined, (was) => ({ ...was, minimumTier: 'vm-emulated' }));
    await assert.rejects(one.sessions.save({ ...another, state: 'resuming', generation: 3 }), {
      code: 'host_unsupported',
      details: { tier: 'none', minimumTier: 'vm-emulated' },
    });
  });

  test('a server that lost its lease begins and wakes nothing', async () => {
    const tenant = await newTenant();
    const lease = await takeLease(databases[0], 'host:lost', 'three');
    const store = new Store(databases[0], lease);
    const sleeper = await asleep(store, tenant);
    const ended = sql`UPDATE leases SET expires_at = clock_timestamp() - interval '1 second' WHERE name = ${lease.name}`;
    await databases[0].query(ended);
    await takeLease(databases[1], lease.name, 'four');
    await assert.rejects(store.sessions.begin([newRow(tenant)]), { code: 'state_conflict' });
    await assert.rejects(store.sessions.save({ ...sleeper, state: 'resuming', generation: 3 }), {
      code: 'state_conflict',
    });
    assert.deepEqual(
      (await one.sessions.page(tenant, { limit: 10 })).map(({ state }) => state),
      ['suspended'],
    );
  });

  test('a session that was changed by somebody else, or is on another host, is not woken', async () => {
    const tenant = await newTenant();
    const sleeper = await asleep(one, tenant);
    for (const [store, generation] of [
      [one, 5],
      [two, 3],
    ] as const) {
      await assert.rejects(store.sessions.save({ ...sleeper, state: 'resuming', generation }), {
        code: 'state_conflict',
      });
    }
    assert.equal((await one.sessions.get(tenant, sleeper.id))?.state, 'suspended');
  });

  test("another tenant's sessions are neither counted nor touched, and no connection keeps the name of a tenant", async () => {
    const [mine, theirs] = [await newTenant({ sessions: 1 }), await newTenant()];
    const other = newRow(theirs);
    await one.sessions.begin([other]);
    await one.sessions.begin([newRow(mine)]);
    const asMine = { ...other, tenant: mine, state: 'resuming', generation: 2 };
    await assert.rejects(one.sessions.save(asMine), { code: 'state_conflict' });
    assert.equal((await one.sessions.get(theirs, other.id))?.state, other.state);
    const count = sql<{ count: string }>`SELECT count(*) FROM sessions`;
    for (let index = 0; index < 8; index += 1) {
      assert.deepEqual(await databases[0].query(count), [{ count: '0' }], 'no tenant is named, no row is seen');
    }
    const all = await databases[0].transaction(everyTenant, async (transaction) => await count.execute(transaction));
    assert.notEqual(all.rows[0]?.count, '0');
  });
}
