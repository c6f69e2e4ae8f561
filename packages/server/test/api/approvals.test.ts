// Approvals, disabled subjects and decisions asked again, over the API: the whole service on the fake runtime, a real PostgreSQL behind the tool.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import {
  type ApprovalResource,
  type DecisionChangesPage,
  type DecisionResource,
  type Scope,
  type TenantId,
  makeId,
  roles,
} from '@bulkhead/protocol';
import { type Portfolio, openPortfolio } from '../tools/portfolio.ts';
import { type Key, type TestService, everyScope, expectStatus, startService, until } from './harness.ts';
import { type ServerProcess, startServerProcess } from './server-process.ts';

type Changed = DecisionChangesPage['items'][number];

let portfolio: Portfolio;
let service: TestService;
let tenant: TenantId;
let admin: Key;
let agent: Key;
let approver: Key;

before(async () => {
  portfolio = await openPortfolio();
  service = await startService();
  tenant = await service.makeTenant('acme');
  admin = await service.makeKey(tenant, { role: 'admin', subject: 'root' });
  agent = await service.makeKey(tenant, { role: 'developer', subject: 'agent' });
  approver = await service.makeKey(tenant, { role: 'approver', subject: 'boss' });
  const { host, database } = portfolio.login('acme');
  const sql = {
    kind: 'sql',
    description: 'positions',
    host,
    database,
    user: 'acme',
    password: 'db',
    freeQueries: true,
  };
  await put('secrets/db', { value: 'canary-of-a-password' });
  await put('tools/positions', sql);
});
after(async () => {
  await service[Symbol.asyncDispose]();
  await portfolio[Symbol.asyncDispose]();
});

async function put(what: string, body: unknown): Promise<void> {
  const path = `/v1/tenants/${tenant}/${what}`;
  expectStatus(await service.call('PUT', path, { key: service.admin.secret, body }), 200);
}
const permit = '@id("reads") permit(principal, action, resource);';
const asks = '@id("asks") @approval("required") permit(principal, action, resource);';
const setPolicies = (policies: string): Promise<void> => put('policies', { policies });

async function newSession(key = agent, grant: readonly string[] = ['positions.*']): Promise<string> {
  const body = { grant, labels: { desk: 'rates' } };
  return expectStatus(await service.call('POST', '/v1/sessions', { key: key.secret, body }), 201).id;
}
/** What a turn is told that asks for this; `ok`, or the code of the error. */
async function query(session: string, sql = 'SELECT 1', key = agent): Promise<string> {
  const body = { code: `bulkhead-tool positions query --json ${JSON.stringify({ sql })}`, language: 'bash' };
  const turn = await service.call('POST', `/v1/sessions/${session}/turns`, { key: key.secret, body });
  const answer = JSON.parse(expectStatus(turn, 201).result.stdout);
  return answer.ok === true ? 'ok' : answer.error.code;
}
async function pending(session: string): Promise<string> {
  let id = '';
  await until(async () => {
    const path = `/v1/approvals?state=pending&session=${session}`;
    const { items } = expectStatus(await service.call('GET', path, { key: approver.secret }), 200);
    id = items[0]?.id ?? '';
    return id !== '';
  }, 'a call waits');
  return id;
}
const answer = (id: string, what: 'approve' | 'refuse', key: Key, body: unknown = {}) =>
  service.call('POST', `/v1/approvals/${id}/${what}`, { key: key.secret, body });

test('who runs a session answers for none of its calls; another person does, once, and is on the record', async () => {
  await setPolicies(asks);
  const session = await newSession();
  const call = query(session, 'SELECT symbol FROM positions');
  const id = await pending(session);
  const shown = expectStatus(await service.call('GET', `/v1/approvals/${id}`, { key: approver.secret }), 200);
  assert.equal(shown.arguments, '{"sql":"SELECT symbol FROM positions"}');
  assert.equal(createHash('sha256').update(shown.arguments).digest('hex'), shown.argumentsDigest);
  assert.deepEqual(
    [shown.state, shown.subject, shown.action, shown.resource, shown.policies],
    ['pending', 'agent', 'positions.query', 'Database portfolio', ['asks']],
  );
  const own = await service.call('GET', `/v1/sessions/${session}/approvals?state=pending`, { key: agent.secret });
  assert.deepEqual(
    expectStatus(own, 200).items.map((item: ApprovalResource) => item.id),
    [id],
    'the agent sees that it waits',
  );
  assert.ok(!(roles.developer as readonly Scope[]).includes('approvals:write'), 'keys for agents have no such scope');
  const all = everyScope.filter((scope) => scope !== 'installation:admin');
  const both = all.filter((scope) => scope !== 'keys:write');
  for (const [who, key] of [
    ['the agent', agent],
    ['the same subject with every scope', await service.makeKey(tenant, { scopes: all, subject: 'agent' })],
    ['another that runs sessions', await service.makeKey(tenant, { scopes: both, subject: 'carol' })],
    ['one that only reads', await service.makeKey(tenant, { role: 'viewer', subject: 'dave' })],
  ] as const) {
    for (const what of ['approve', 'refuse'] as const) {
      assert.equal((await answer(id, what, key, { reason: 'mine' })).status, 403, who);
    }
  }
  const stranger = await service.makeKey(await service.makeTenant('globex'), { role: 'admin', subject: 'root' });
  for (const other of [id, makeId('approval')]) {
    assert.equal((await answer(other, 'approve', stranger)).status, 404);
    assert.equal((await service.call('GET', `/v1/approvals/${other}`, { key: stranger.secret })).status, 404);
  }
  assert.equal((await answer(id, 'refuse', approver)).status, 400, 'who refuses says why');
  const approved = expectStatus(await answer(id, 'approve', approver, { reason: 'looks right' }), 200);
  assert.deepEqual(
    [approved.state, approved.answeredBy, approved.answeredWith, approved.reason],
    ['approved', 'boss', approver.id, 'looks right'],
  );
  assert.equal(await call, 'ok');
  const late = await answer(id, 'refuse', admin, { reason: 'too late' });
  assert.deepEqual([late.status, late.json.code, late.json.details], [409, 'state_conflict', { state: 'approved' }]);

  const second = query(session);
  expectStatus(await answer(await pending(session), 'refuse', admin, { reason: 'no' }), 200);
  assert.equal(await second, 'tool_denied');
});

test('a decision is explained, asked again, and held against other policies', async () => {
  await setPolicies(
    `${permit} @id("no-notes") forbid(principal, action, resource) when { context.sql like "*note*" };`,
  );
  const session = await newSession();
  assert.equal(await query(session), 'ok');
  assert.equal(await query(session, 'SELECT note FROM positions'), 'tool_denied');
  const key = admin.secret;
  const since = new Date(Date.now() - 60_000).toISOString();
  const listed = await service.call('GET', `/v1/decisions?session=${session}&since=${since}`, { key });
  const [denied, allowed] = expectStatus(listed, 200).items;
  const explain = async (id: string) =>
    expectStatus(await service.call('GET', `/v1/decisions/${id}/explanation`, { key }), 200);
  const why = await explain(denied.id);
  assert.deepEqual(why.policies, [
    {
      id: 'no-notes',
      text: '@id("no-notes") forbid(principal, action, resource) when { context.sql like "*note*" };',
    },
  ]);
  assert.deepEqual(why.grant, ['positions.*']);
  assert.deepEqual(why.asked.context, { sql: 'SELECT note FROM positions' });
  assert.deepEqual(why.asked.resource, { type: 'Database', id: 'portfolio', within: [] });
  assert.deepEqual([why.asked.session.subject, why.asked.session.labels], ['agent', { desk: 'rates' }]);
  assert.equal(why.asked.session.facts.tier, 'none');

  const narrow = await newSession(agent, ['positions.other']);
  assert.equal(await query(narrow), 'tool_denied');
  const beyond = await service.call('GET', `/v1/decisions?session=${narrow}`, { key });
  const ungranted = await explain(expectStatus(beyond, 200).items[0].id);
  assert.deepEqual(
    [ungranted.decision.reason, ungranted.grant, ungranted.asked, ungranted.policies],
    ['grant', ['positions.other'], null, []],
  );

  const compare = async (what: string, body: object) =>
    expectStatus(await service.call('POST', `/v1/tenants/${tenant}/${what}`, { key, body }), 200);
  const replayed = await compare('decisions/replay', { session });
  assert.deepEqual([replayed.compared, replayed.items], [2, []]);
  const stricter = 'permit(principal, action, resource) when { context.sql like "*note*" };';
  const diff = await compare('policies/diff', { policies: stricter, session });
  assert.deepEqual(
    diff.items.map((item: Changed) => [item.decision, item.before.outcome, item.after.outcome, item.after.reason]),
    [
      [denied.id, 'deny', 'allow', 'policy'],
      [allowed.id, 'allow', 'deny', 'no_policy'],
    ],
  );
  const first = await compare('policies/diff', { policies: stricter, session, limit: 1 });
  const rest = await compare('policies/diff', { policies: stricter, session, limit: 1, cursor: first.nextCursor });
  assert.deepEqual(
    [...first.items, ...rest.items].map((item: Changed) => item.decision),
    [denied.id, allowed.id],
  );
  const broken = await service.call('POST', `/v1/tenants/${tenant}/policies/diff`, { key, body: { policies: 'nope' } });
  assert.equal(broken.status, 400);
});

test('a subject that is disabled reaches nothing, with a key or in a session that slept; enabled again, it does', async () => {
  await setPolicies(permit);
  const session = await newSession();
  const other = await newSession(admin);
  assert.equal(await query(session), 'ok');
  const path = `/v1/tenants/${tenant}/subjects/agent/disabled`;
  const asleep = await service.call('POST', `/v1/sessions/${session}/suspend`, { key: agent.secret });
  expectStatus(asleep, 200);
  assert.equal((await service.call('PUT', path, { key: agent.secret })).status, 403);
  const own = await service.call('PUT', `/v1/tenants/${tenant}/subjects/root/disabled`, { key: admin.secret });
  assert.equal(own.json.code, 'invalid_request', 'nobody locks themselves out');
  const disabled = expectStatus(await service.call('PUT', path, { key: admin.secret }), 200);
  assert.deepEqual(disabled.disabledSubjects, ['agent']);
  expectStatus(await service.call('POST', `/v1/sessions/${session}/resume`, { key: admin.secret }), 200);
  assert.equal(await query(session, 'SELECT 1', admin), 'tool_denied', 'the first call after the sleep');
  assert.equal(await query(other, 'SELECT 1', admin), 'ok', 'a session of another subject');
  await until(
    async () => (await service.call('GET', '/v1/caller', { key: agent.secret })).status === 401,
    'its key is not known any more',
  );
  const { items } = expectStatus(
    await service.call('GET', `/v1/decisions?session=${session}`, { key: admin.secret }),
    200,
  );
  assert.deepEqual([items[0].outcome, items[0].reason], ['deny', 'subject']);
  expectStatus(await service.call('DELETE', path, { key: admin.secret }), 200);
  await until(
    async () => (await service.call('GET', '/v1/caller', { key: agent.secret })).status === 200,
    'its key is known again',
  );
  assert.equal(await query(session), 'ok');
});

test('what is tightened or revoked while a session sleeps is met by its first call; a fork gets no more than its parent', async () => {
  await setPolicies(permit);
  const session = await newSession();
  const sleep = async (verb: 'suspend' | 'resume'): Promise<void> =>
    expectStatus(await service.call('POST', `/v1/sessions/${session}/${verb}`, { key: agent.secret }), 200);
  assert.equal(await query(session), 'ok');
  await sleep('suspend');
  await setPolicies('');
  await sleep('resume');
  assert.equal(await query(session), 'tool_denied');
  await setPolicies(permit);
  assert.equal(await query(session), 'ok');
  await sleep('suspend');
  const secret = `/v1/tenants/${tenant}/secrets/db`;
  expectStatus(await service.call('DELETE', secret, { key: service.admin.secret }), 200);
  await sleep('resume');
  assert.equal(await query(session), 'tool_failed');
  await put('secrets/db', { value: 'canary-of-a-password' });
  assert.equal(await query(session), 'ok');
  const fork = async (grant: readonly string[]) =>
    await service.call('POST', `/v1/sessions/${session}/fork`, { key: agent.secret, body: { grant } });
  assert.equal((await fork(['positions.*', 'payments.*'])).json.code, 'forbidden');
  assert.deepEqual(expectStatus(await fork(['positions.query']), 201).sessions[0].grant, ['positions.query']);
});

test('a server that is killed leaves a call that nobody can approve', async () => {
  const home = mkdtempSync(join(tmpdir(), 'bulkhead-killed-'));
  const start = (): Promise<ServerProcess> => startServerProcess(home, { BULKHEAD_LOG_LEVEL: 'silent' });
  const server = await start();
  try {
    const admins = server.secret ?? assert.fail('the first start says a key');
    const { tenant: own } = expectStatus(await server.call('GET', '/v1/caller', { key: admins }), 200);
    const set = async (what: string, body: unknown): Promise<void> =>
      expectStatus(await server.call('PUT', `/v1/tenants/${own}/${what}`, { key: admins, body }), 200);
    const { host, database } = portfolio.login('acme');
    await set('tools/positions', { kind: 'sql', description: 'd', host, database, user: 'acme', freeQueries: true });
    await set('policies', { policies: asks });
    const body = { name: 'boss', role: 'approver', subject: 'boss' };
    const boss = expectStatus(await server.call('POST', `/v1/tenants/${own}/keys`, { key: admins, body }), 201).secret;
    const made = await server.call('POST', '/v1/sessions', { key: admins, body: { grant: ['positions.*'] } });
    const path = `/v1/sessions/${expectStatus(made, 201).id}`;
    const code = 'bulkhead-tool positions query --json {"sql":"SELECT 1"}';
    const turn = { code, language: 'bash', wait: 'none' };
    expectStatus(await server.call('POST', `${path}/turns`, { key: admins, body: turn }), 201);
    let id = '';
    await until(async () => {
      const { items } = expectStatus(await server.call('GET', `${path}/approvals`, { key: admins }), 200);
      id = items[0]?.id ?? '';
      return id !== '';
    }, 'a call waits');
    server.child.kill('SIGKILL');
    await server.exited;
    await using again = await start();
    const late = await again.call('POST', `/v1/approvals/${id}/approve`, { key: boss, body: {} });
    assert.deepEqual([late.status, late.json.details], [409, { state: 'cancelled' }]);
    const { items } = expectStatus(await again.call('GET', '/v1/decisions', { key: boss }), 200);
    assert.deepEqual(
      items.map((item: DecisionResource) => [item.outcome, item.approval, item.endedAt]),
      [['ask', id, null]],
      'it was asked, and never done',
    );
  } finally {
    await server[Symbol.asyncDispose]();
    rmSync(home, { recursive: true, force: true });
  }
});
