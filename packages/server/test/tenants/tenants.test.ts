import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { openTenancy } from '../../src/open-tenancy.ts';
import { localTenant } from '../../src/tenants/local-tenant.ts';
import { type Installation, type Server, callerOf, newTenant, openInstallation } from './servers.ts';

let installation: Installation;
let one: Server;
let two: Server;

before(async () => {
  installation = await openInstallation();
  one = await installation.start('one');
  two = await installation.start('two');
});
after(async () => {
  await Promise.all([one[Symbol.asyncDispose](), two[Symbol.asyncDispose]()]);
  await installation[Symbol.asyncDispose]();
});

test('the first start makes one tenant and one key, however many servers start at once', async () => {
  const asked = [one, two, one, two].map(({ tenancy }) => tenancy.ensureFirstTenant());
  const [first, ...rest] = (await Promise.all(asked)).filter((issued) => issued !== undefined);
  assert.ok(first !== undefined && rest.length === 0);
  const caller = await two.tenancy.access.authenticate(`Bearer ${first.secret}`);
  assert.ok(caller.scopes.has('installation:admin') && caller.scopes.has('keys:write'));
  assert.equal(await one.tenancy.ensureFirstTenant(), undefined);
  await one.tenancy.tenants.delete(caller.tenant);
  assert.equal(await one.tenancy.ensureFirstTenant(), undefined, 'nor when that tenant is gone');
});

test('a tenant is changed by who has read what it is', async () => {
  const { tenants } = one.tenancy;
  const made = await tenants.create({ name: 'acme' });
  assert.deepEqual([made.version, made.retentionDays, made.quotas.sessions], [1, 30, 1000]);
  await assert.rejects(two.tenancy.tenants.create({ name: 'acme' }), { code: 'state_conflict' });
  const changed = await tenants.update(made.id, { quotas: { sessions: 7 }, minimumTier: 'vm-kvm' }, 1);
  assert.deepEqual([changed.version, changed.quotas.sessions, changed.quotas.machines], [2, 7, made.quotas.machines]);
  await assert.rejects(tenants.update(made.id, { retentionDays: 1 }, 1), {
    code: 'precondition_failed',
    details: { version: 2 },
  });
  const races = await Promise.allSettled(
    [one, two].map((server) => server.tenancy.tenants.update(made.id, { retentionDays: 3 }, 2)),
  );
  assert.deepEqual(races.map(({ status }) => status).toSorted(), ['fulfilled', 'rejected']);
  assert.deepEqual(await two.tenancy.tenants.get(made.id), { ...changed, version: 3, retentionDays: 3 });
  for (const bad of [
    { retentionDays: 0 },
    { retentionDays: 3651 },
    { retentionDays: 1.5 },
    { quotas: { sessions: -1 } },
  ]) {
    await assert.rejects(tenants.update(made.id, bad), { code: 'invalid_request' });
  }
  for (const name of ['', 'A', 'a_b', '-a', 'ten-x', 'a'.repeat(64)]) {
    await assert.rejects(tenants.create({ name }), { code: 'invalid_request' });
  }
  const seen: string[] = [];
  for (let cursor: string | null | undefined; cursor !== null;) {
    const page = await tenants.list({ limit: 1, ...(cursor === undefined ? {} : { cursor }) });
    seen.push(...page.items.map(({ name }) => name));
    cursor = page.nextCursor;
  }
  assert.deepEqual(seen, [localTenant.replace('_', '-'), 'acme']);
});

test('a tenant that is deleted has nothing left: here at once, elsewhere with the next look', async () => {
  const tenant = await newTenant(one);
  const { secret } = await one.tenancy.keys.create(callerOf(tenant), tenant, { name: 'x', scopes: [] });
  await two.tenancy.access.authenticate(`Bearer ${secret}`);
  for (const server of [one, two]) {
    const session = await server.sessions.createSession({ tenant });
    await session.startTurn({ code: 'print("said")' }).result;
    await server.sessions.suspendSession(tenant, session.id);
    await server.sessions.createSession({ tenant });
  }
  const keysOf = (): readonly string[] =>
    readdirSync(join(installation.root, 'turn-keys')).filter((name) => name.startsWith(tenant));
  assert.equal(keysOf().length, 2);
  await one.tenancy.tenants.delete(tenant, 1);
  await one.tenancy.tenants.delete(tenant, 1);
  await assert.rejects(one.tenancy.access.authenticate(`Bearer ${secret}`), { code: 'unauthenticated' });
  await assert.rejects(one.tenancy.tenants.get(tenant), { code: 'not_found' });
  await assert.rejects(one.tenancy.tenants.update(tenant, {}), { code: 'not_found' });
  await assert.rejects(one.tenancy.keys.create(callerOf(tenant), tenant, { name: 'x', scopes: [] }), {
    code: 'not_found',
  });
  assert.equal(keysOf().length, 0);
  assert.equal(one.runtime.machines.size, 0);
  assert.equal((await two.tenancy.reconcile()).tenants, 1);
  assert.equal(two.runtime.machines.size, 0);
  assert.deepEqual((await one.keeping.sessions.list(tenant)).items, []);
  assert.equal((await two.tenancy.reconcile()).tenants, 0);
  await assert.rejects(one.tenancy.tenants.delete(localTenant), { code: 'state_conflict' });
});

test('labels are replaced by who has read what is there, and survive a restart', async () => {
  const tenant = await newTenant(one);
  const { id, record } = await one.sessions.createSession({ tenant, subject: 'ann', labels: { app: 'a' } });
  const labelled = await one.sessions.updateLabels(tenant, id, { app: 'b', 'team/x': 'Ü' }, record.generation);
  await assert.rejects(one.sessions.updateLabels(tenant, id, {}, record.generation), { code: 'precondition_failed' });
  const kept = await two.keeping.sessions.get(tenant, id);
  assert.deepEqual(
    [kept.labels, kept.generation, kept.state],
    [{ app: 'b', 'team/x': 'Ü' }, labelled.generation, 'ready'],
  );
  for (const bad of [{ A: 'x' }, { a: 'x'.repeat(257) }, { a: 'Ü'.repeat(257) }, { a: 'a\u0000b' }, { a: '\ud800' }]) {
    await assert.rejects(one.sessions.updateLabels(tenant, id, bad), { code: 'invalid_request' });
  }
  const many = Object.fromEntries(Array.from({ length: 33 }, (_, index) => [`k${index}`, 'v']));
  await assert.rejects(one.sessions.createSession({ tenant, labels: many }), { code: 'invalid_request' });
  await one.sessions.terminateSession(tenant, id);
  await assert.rejects(one.sessions.updateLabels(tenant, id, {}), { code: 'session_ended' });
});

test('a server that is put together a second time over the same keeping reconciles nothing twice', async () => {
  await using again = openTenancy({ config: one.config, keeping: one.keeping, sessions: one.sessions });
  assert.equal((await again.reconcile()).turns, 0);
});
