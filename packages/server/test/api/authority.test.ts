// Tools, secrets, policies and decisions over the API: the whole service on the fake runtime, a real PostgreSQL behind the tool.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type TenantId, parseId } from '@bulkhead/protocol';
import { type Portfolio, canary, openPortfolio } from '../tools/portfolio.ts';
import { type Key, type TestService, everyScope, expectStatus, startService } from './harness.ts';

const password = 'canary-of-a-password';
let portfolio: Portfolio;
let service: TestService;
let tenant: TenantId;
let admin: Key;
let agent: Key;

before(async () => {
  portfolio = await openPortfolio();
  service = await startService();
  tenant = await service.makeTenant('acme');
  admin = await service.makeKey(tenant, { role: 'admin' });
  agent = await service.makeKey(tenant, { role: 'developer', subject: 'agent' });
});
after(async () => {
  await service[Symbol.asyncDispose]();
  await portfolio[Symbol.asyncDispose]();
});

const reads = '@id("reads") permit(principal, action == Bulkhead::Action::"positions.query", resource);';

function settings(): Record<string, unknown> {
  const { host, database } = portfolio.login('acme');
  const sql = { kind: 'sql', description: 'positions', host, database, user: 'acme', password: 'db' };
  return { ...sql, freeQueries: true };
}

test('an administrator sets up, a tenant decides, an agent calls, an auditor reads', async () => {
  const path = `/v1/tenants/${tenant}`;
  const set = (what: string, body: unknown, key: string) => service.call('PUT', `${path}/${what}`, { key, body });
  assert.equal(
    (await set('tools/positions', settings(), admin.secret)).status,
    403,
    'a tenant may not open what runs on the host',
  );
  assert.equal(
    (await set('tools/positions', settings(), service.admin.secret)).json.code,
    'state_conflict',
    'there is no such secret yet',
  );
  const kept = await set('secrets/db', { value: password }, service.admin.secret);
  expectStatus(kept, 200);
  const tool = await set('tools/positions', settings(), service.admin.secret);
  expectStatus(tool, 200);
  const check = await service.call('POST', `${path}/policies/check`, {
    key: admin.secret,
    body: { policies: reads.replace('query', 'quary') },
  });
  assert.match(expectStatus(check, 200).problems[0].message, /unrecognized action/);
  const stale = await service.call('PUT', `${path}/policies`, {
    key: admin.secret,
    body: { policies: reads },
    headers: { 'if-match': '"1"' },
  });
  assert.equal(stale.status, 412);
  const policies = await service.call('PUT', `${path}/policies`, {
    key: admin.secret,
    body: { policies: reads },
    headers: { 'if-match': tool.headers.get('etag') ?? '' },
  });
  expectStatus(policies, 200);

  const made = expectStatus(
    await service.call('POST', '/v1/sessions', { key: agent.secret, body: { grant: ['positions.*'] } }),
    201,
  );
  assert.deepEqual(made.grant, ['positions.*']);
  const run = async (session: string, code: string) =>
    expectStatus(
      await service.call('POST', `/v1/sessions/${session}/turns`, {
        key: agent.secret,
        body: { code, language: 'bash' },
      }),
      201,
    ).result;
  const told = await run(
    made.id,
    'bulkhead-tool positions query --json {"sql":"SELECT symbol FROM positions ORDER BY 1"}',
  );
  assert.deepEqual(JSON.parse(told.stdout).value.rows, [['DAX'], ['SMI']]);
  const beyond = await service.call('POST', `/v1/sessions/${made.id}/fork`, {
    key: agent.secret,
    body: { grant: ['payments.*'] },
  });
  assert.equal(beyond.json.code, 'forbidden');
  const other = await run(
    made.id,
    'bulkhead-tool positions query --json {"sql":"SELECT * FROM positions WHERE tenant = \'globex\'"}',
  );
  assert.deepEqual(JSON.parse(other.stdout).value.rows, []);
  const ungranted = expectStatus(await service.call('POST', '/v1/sessions', { key: agent.secret, body: {} }), 201);
  assert.equal(
    (await run(ungranted.id, 'bulkhead-tool positions query --json {"sql":"SELECT 1"}')).stdout,
    'no tools\n',
  );
  expectStatus(await service.call('PUT', `${path}/policies`, { key: admin.secret, body: { policies: '' } }), 200);
  const revoked = JSON.parse((await run(made.id, 'bulkhead-tool positions query --json {"sql":"SELECT 1"}')).stdout);
  assert.equal(revoked.error.code, 'tool_denied');

  assert.equal((await service.call('GET', '/v1/decisions', { key: agent.secret })).status, 403);
  const listed = await service.call('GET', `/v1/decisions?session=${made.id}`, { key: admin.secret });
  const { items } = expectStatus(listed, 200);
  assert.deepEqual(
    items.map(({ outcome }: { outcome: string }) => outcome),
    ['deny', 'allow', 'allow'],
  );
  assert.equal(items[0].id, revoked.error.details.decision);
  const replayed = await service.call('POST', `/v1/decisions/${items[2].id}/replay`, { key: admin.secret });
  assert.deepEqual(expectStatus(replayed, 200), {
    same: true,
    outcome: 'allow',
    policies: ['reads'],
    context: { sql: 'SELECT symbol FROM positions ORDER BY 1' },
  });

  // Nothing of it is another tenant's, and no secret is anybody's.
  const stranger = await service.makeKey(await service.makeTenant('globex'), {
    scopes: everyScope.filter((scope) => scope !== 'installation:admin'),
  });
  for (const [method, where] of [
    ['GET', `${path}/authority`],
    ['GET', `/v1/decisions/${items[0].id}`],
    ['POST', `/v1/decisions/${items[0].id}/replay`],
  ] as const) {
    assert.equal((await service.call(method, where, { key: stranger.secret })).status, 404, where);
  }
  assert.deepEqual(expectStatus(await service.call('GET', '/v1/decisions', { key: stranger.secret }), 200).items, []);
  const authority = await service.call('GET', `${path}/authority`, { key: service.admin.secret });
  assert.deepEqual(
    authority.json.secrets.map(({ name }: { name: string }) => name),
    ['db'],
  );
  const everything =
    [kept, tool, policies, authority, listed].map(({ text }) => text).join('') + service.lines.join('');
  assert.ok(!everything.includes(password) && !everything.includes(canary));
  assert.ok(parseId('decision', items[0].id));
});
