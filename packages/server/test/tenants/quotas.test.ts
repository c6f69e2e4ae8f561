// Two servers on one database, and what a tenant may have on both together.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type BulkheadError, type SessionId, type TenantId, makeId } from '@bulkhead/protocol';
import { databaseKinds } from '../store/databases.ts';
import { type Installation, type Server, newTenant, openInstallation } from './servers.ts';

for (const kind of databaseKinds) {
  describe(kind, () => {
    let installation: Installation;
    let one: Server;
    let two: Server;

    before(async () => {
      installation = await openInstallation(kind);
      one = await installation.start('one');
      two = await installation.start('two');
    });
    after(async () => {
      await Promise.all([one[Symbol.asyncDispose](), two[Symbol.asyncDispose]()]);
      await installation[Symbol.asyncDispose]();
    });

    /** How many were done; the others were refused for that reason, and for no other. */
    async function count(work: readonly Promise<unknown>[], quota: string, maximum: number): Promise<number> {
      const settled = await Promise.allSettled(work);
      for (const outcome of settled) {
        if (outcome.status === 'fulfilled') continue;
        const error = outcome.reason as BulkheadError;
        assert.equal(error.code, 'quota_exceeded', String(error));
        assert.deepEqual(error.details, { quota, maximum });
      }
      return settled.filter(({ status }) => status === 'fulfilled').length;
    }

    /** Of a tenant: rows in the store, records on both servers, machines on both. */
    async function inventory(tenant: TenantId): Promise<readonly number[]> {
      const { items } = await one.keeping.sessions.list(tenant, {}, { limit: 200 });
      const records = [one, two].flatMap(({ sessions }) => sessions.listSessions(tenant));
      const machines = [one, two].flatMap(({ runtime }) => [...runtime.machines.values()]);
      return [items.length, records.length, machines.filter(({ spec }) => spec.tenant === tenant).length];
    }

    test('sessions: as many as there may be, however many are asked for at once, and nothing is left of the rest', async () => {
      const tenant = await newTenant(one, { sessions: 5 });
      const asked = Array.from({ length: 40 }, (_, index) =>
        (index % 2 === 0 ? one : two).sessions.createSession({ tenant }),
      );
      assert.equal(await count(asked, 'sessions', 5), 5);
      assert.deepEqual(await inventory(tenant), [5, 5, 5]);
      const [{ id, state } = { id: makeId('session'), state: 'none' }] = one.sessions.listSessions(tenant);
      assert.equal(state, 'ready');
      await one.sessions.terminateSession(tenant, id);
      await two.sessions.createSession({ tenant });
      await assert.rejects(one.sessions.createSession({ tenant }), { code: 'quota_exceeded' });
    });

    test('a session that is refused has never been', async () => {
      const tenant = await newTenant(one, { sessions: 0 });
      const { id, ready } = one.sessions.beginSession({ tenant });
      await assert.rejects(ready, { code: 'quota_exceeded', details: { quota: 'sessions', maximum: 0 } });
      assert.throws(() => one.sessions.getSession(tenant, id), { code: 'not_found' });
      await assert.rejects(one.keeping.sessions.get(tenant, id), { code: 'not_found' });
      assert.deepEqual(await inventory(tenant), [0, 0, 0]);
    });

    test('machines: those that sleep are none, and waking is refused as creating is', async () => {
      const tenant = await newTenant(one, { machines: 2 });
      const asleep: (readonly [Server, SessionId])[] = [];
      for (let index = 0; index < 6; index += 1) {
        const server = index % 2 === 0 ? one : two;
        const { id } = await server.sessions.createSession({ tenant });
        await server.sessions.suspendSession(tenant, id);
        asleep.push([server, id]);
      }
      const wake = ([server, id]: readonly [Server, SessionId]): Promise<unknown> =>
        server.sessions.resumeSession(tenant, id);
      assert.equal(await count(asleep.map(wake), 'machines', 2), 2);
      assert.deepEqual(await inventory(tenant), [6, 6, 2]);
      const stateOf = ([server, id]: readonly [Server, SessionId]): string =>
        server.sessions.getSession(tenant, id).state;
      const stillAsleep = asleep.filter((each) => stateOf(each) === 'suspended');
      assert.equal(stillAsleep.length, 4);
      const [refused] = stillAsleep;
      const awake = asleep.find((each) => stateOf(each) === 'ready');
      assert.ok(refused && awake);
      const [server, id] = refused;
      await assert.rejects(server.sessions.takeTurn(tenant, id, { code: 'print(1)' }), { code: 'quota_exceeded' });
      await assert.rejects(one.sessions.createSession({ tenant }), { code: 'quota_exceeded' });
      await awake[0].sessions.suspendSession(tenant, awake[1]);
      const turn = await server.sessions.takeTurn(tenant, id, { code: 'print(1)' });
      assert.equal((await turn.result).stdout, '1\n', 'what was refused before is whole');
      // A second generation was refused: the store goes on without a gap.
      const { generation } = await server.sessions.suspendSession(tenant, id);
      const kept = await one.keeping.sessions.get(tenant, id);
      assert.deepEqual([kept.state, kept.generation], ['suspended', generation]);
    });

    test('memory and disk count by size, disks of those that sleep too', async () => {
      const tenant = await newTenant(one, { memoryMib: 1536, diskMib: 10_240 });
      const { id } = await one.sessions.createSession({ tenant, size: 'medium' });
      await one.sessions.createSession({ tenant, size: 'small' });
      await assert.rejects(two.sessions.createSession({ tenant }), { details: { quota: 'memoryMib', maximum: 1536 } });
      await one.sessions.suspendSession(tenant, id);
      await assert.rejects(two.sessions.createSession({ tenant }), { details: { quota: 'diskMib', maximum: 10_240 } });
      await one.sessions.terminateSession(tenant, id);
      await two.sessions.createSession({ tenant });
    });

    test('forks: all of them or none', async () => {
      const tenant = await newTenant(one, { sessions: 5 });
      const { id } = await one.sessions.createSession({ tenant, subject: 'parent', labels: { app: 'x' } });
      await assert.rejects(one.sessions.forkSession(tenant, id, 5), { code: 'quota_exceeded' });
      assert.deepEqual(await inventory(tenant), [1, 1, 1]);
      const forked = await one.sessions.forkSession(tenant, id, 4);
      assert.deepEqual(
        forked.map(({ subject, labels, parent }) => [subject, labels, parent]),
        forked.map(() => ['parent', { app: 'x' }, id]),
      );
      assert.deepEqual(await inventory(tenant), [5, 5, 5]);
    });

    test('a tenant that is gone, or never was, has no session; one that wants a stronger tier has none here', async () => {
      await assert.rejects(one.sessions.createSession({ tenant: makeId('tenant') }), { code: 'not_found' });
      const gone = await newTenant(one);
      await two.tenancy.tenants.delete(gone);
      await assert.rejects(one.sessions.createSession({ tenant: gone }), { code: 'not_found' });
      const strict = await one.tenancy.tenants.create({
        name: `strict-${kind.toLowerCase().replace('_', '-')}`,
        minimumTier: 'vm-kvm',
      });
      await assert.rejects(one.sessions.createSession({ tenant: strict.id }), {
        code: 'host_unsupported',
        details: { tier: 'none', minimumTier: 'vm-kvm' },
      });
      assert.deepEqual(await inventory(strict.id), [0, 0, 0]);
    });

    test('a quota that is lowered takes nothing away, and lets nothing more in', async () => {
      const tenant = await newTenant(one);
      const { id } = await one.sessions.createSession({ tenant });
      await one.sessions.createSession({ tenant });
      await two.tenancy.tenants.update(tenant, { quotas: { sessions: 1, machines: 1 } });
      await assert.rejects(one.sessions.createSession({ tenant }), { code: 'quota_exceeded' });
      const turn = one.sessions.startTurn(tenant, id, { code: 'print(1)' });
      assert.equal((await turn.result).status, 'ok');
      await one.sessions.suspendSession(tenant, id);
      await assert.rejects(one.sessions.resumeSession(tenant, id), { details: { quota: 'machines', maximum: 1 } });
    });
  });
}
