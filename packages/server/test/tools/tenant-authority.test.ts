// What a tenant sets up, kept in a real PostgreSQL, and what is decided by it.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync, readdirSync } from 'node:fs';
import { type Socket, connect, createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type TenantId, type ToolSettings, makeId, toolSettingsSchema } from '@bulkhead/protocol';
import type { ClientConfig } from 'pg';
import { PolicyEngine } from '../../src/authority/policy-engine.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { FakeRuntime } from '../../src/runtimes/fake/fake-runtime.ts';
import { SessionEgress } from '../../src/sessions/session-egress.ts';
import { attachAll } from '../../src/sessions/session-tools.ts';
import { Sessions } from '../../src/sessions/sessions.ts';
import { StoredDecisions } from '../../src/sessions/stored-decisions.ts';
import { ToolCalls } from '../../src/sessions/tool-calls.ts';
import { LocalKeyFile } from '../../src/snapshots/key-encryption.ts';
import { unbounded } from '../../src/store/tenant-row.ts';
import { TenantAuthority } from '../../src/tools/tenant-authority.ts';
import { eventually } from '../api/mcp-support.ts';
import { type Kept, openKept } from './kept.ts';
import { echoTool, openMcpPeer } from './mcp-peer.ts';
import { type Portfolio, openPortfolio } from './portfolio.ts';

const password = 'canary-of-a-password';
const engine = new PolicyEngine();
let portfolio: Portfolio;
let kept: Kept;
let authority: TenantAuthority;
let decisions: StoredDecisions;

before(async () => {
  portfolio = await openPortfolio();
  kept = await openKept();
  const encryption = await LocalKeyFile.open(join(kept.path, 'key'), { create: true });
  authority = new TenantAuthority({ store: kept.store.authority, encryption, clock: systemClock });
  decisions = new StoredDecisions({ store: kept.store.decisions, keys: kept.keys, clock: systemClock, engine });
});
after(async () => {
  await authority[Symbol.asyncDispose]();
  await kept[Symbol.asyncDispose]();
  await portfolio[Symbol.asyncDispose]();
});

async function newTenant(name: string): Promise<TenantId> {
  const id = makeId('tenant');
  const row = { id, name, quotas: unbounded, minimumTier: null, retentionDays: 30, createdAtUnixMs: Date.now() };
  assert.ok(await kept.store.tenants.insert(row));
  return id;
}

function settings(user: string, change: Record<string, unknown> = {}): ToolSettings {
  const { host, database } = portfolio.login(user);
  return toolSettingsSchema.parse({
    kind: 'sql',
    description: 'positions',
    host,
    database,
    user,
    password: 'positions-password',
    freeQueries: true,
    ...change,
  });
}

const reads = '@id("reads") permit(principal, action == Bulkhead::Action::"positions.query", resource);';

test('tools, secrets and policies are set up in an order that works, and told without a secret', async () => {
  const tenant = await newTenant('acme');
  await assert.rejects(authority.putTool(tenant, 'positions', settings('acme')), { code: 'state_conflict' });
  await authority.putSecret(tenant, 'positions-password', password);
  await assert.rejects(authority.putPolicies(tenant, reads), { code: 'invalid_request' }, 'there is no such tool yet');
  const { version } = await authority.putTool(tenant, 'positions', settings('acme'));
  await assert.rejects(authority.putPolicies(tenant, reads, version - 1), { code: 'precondition_failed' });
  const facts = await authority.putPolicies(tenant, reads, version);
  assert.equal(facts.version, version + 1);
  assert.deepEqual(
    facts.secrets.map(({ name }) => name),
    ['positions-password'],
  );
  assert.ok(!JSON.stringify(facts).includes(password));
  await assert.rejects(authority.putTool(tenant, 'positions', null), { code: 'state_conflict' }, 'a policy names it');
  await assert.rejects(authority.putTool(tenant, 'positions', settings('broad')), { code: 'invalid_request' });
  assert.equal((await authority.facts(tenant)).version, version + 1, 'what was refused has changed nothing');
  assert.equal(
    (await authority.checkPolicies(tenant, `${reads} permit(principal, action, resource) when { context.nothing };`))
      .problems.length,
    1,
  );
  await assert.rejects(authority.facts(makeId('tenant')), { code: 'not_found' });
});

test('a secret is nowhere in the files of the database, and is another tenant’s in vain', async () => {
  const tenant = await newTenant('initech');
  await authority.putSecret(tenant, 'one', password);
  const rows = await kept.store.authority.read(tenant);
  const other = await newTenant('umbrella');
  const { wrappedKey, sealed, changedAtUnixMs } = rows.secrets[0] ?? assert.fail('it is kept');
  const stolen = { name: 'positions-password', value: { wrappedKey, sealed, changedAtUnixMs } };
  await kept.store.authority.change(other, undefined, { secret: stolen }, () => undefined);
  await assert.rejects(authority.putTool(other, 'positions', settings('acme')), { code: 'key_unavailable' });
  await kept.checkpoint();
  const files = readdirSync(kept.files, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const holds = (text: string): boolean =>
    files.some((file) => readFileSync(join(file.parentPath, file.name)).includes(text));
  assert.ok(holds('umbrella'), 'the search finds what is there');
  assert.ok(!holds(password));
});

test('a database that does not answer holds up no launch, and its tool works again when it does', async () => {
  const tenant = await newTenant('wonka');
  await using road = await openRoad(portfolio.login('acme'));
  await authority.putSecret(tenant, 'positions-password', password);
  const { port } = road;
  await authority.putTool(
    tenant,
    'positions',
    settings('acme', { host: '127.0.0.1', port, tls: 'off', timeoutMs: 1000 }),
  );
  await authority.putPolicies(tenant, reads);
  const encryption = await LocalKeyFile.open(join(kept.path, 'key'), { create: false });
  await using restarted = new TenantAuthority({ store: kept.store.authority, encryption, clock: systemClock });
  const runtime = new FakeRuntime({ clock: systemClock });
  const source = { engine, source: restarted, clock: systemClock, region: 'here' };
  const tools = new ToolCalls({ ...source, log: decisions });
  const egress = new SessionEgress({ ...source, log: decisions, resolver: noNames });
  await using sessions = new Sessions({ runtimes: [runtime], tools: attachAll(tools, egress) });
  road.open = false;
  const started = performance.now();
  await sessions.createSession({ tenant, grant: ['positions.*'] });
  assert.ok(performance.now() - started < 500, 'the launch did not wait');
  const guest = [...runtime.machines.values()].at(-1)?.guest ?? assert.fail('there is a machine');
  const call = async (): Promise<string> => {
    const answer = await (guest.call ?? assert.fail())('positions', 'query', '{"sql":"SELECT symbol FROM positions"}');
    return answer.ok ? 'ok' : answer.error.code;
  };
  assert.equal(await call(), 'tool_failed');
  road.open = true;
  await eventually('the tool works', async () => (await call()) === 'ok');
});

test('a rule of the network that would not be taken today is none, though it is kept', async () => {
  const tenant = await newTenant('tyrell');
  const rule = (host: string): ToolSettings =>
    toolSettingsSchema.parse({ kind: 'egress', description: 'x', scheme: 'https', hosts: [host] });
  const wrong = rule('xn--a.example.com');
  await assert.rejects(authority.putTool(tenant, 'wrong', wrong), { code: 'invalid_request' });
  await authority.putTool(tenant, 'right', rule('a.example.com'));
  await kept.store.authority.change(tenant, undefined, { tool: { name: 'wrong', settings: wrong } }, () => undefined);
  const { tools } = await authority.of(tenant);
  assert.deepEqual([...tools.keys()].toSorted(), ['right', 'wrong']);
  assert.notEqual(tools.get('right')?.egress, undefined, 'the control');
  assert.equal(tools.get('wrong')?.egress, undefined);
});

test('calls are decided by what is set up now, are on record, and can be asked again', async () => {
  const tenant = await newTenant('globex');
  const runtime = new FakeRuntime({ clock: systemClock });
  const tools = new ToolCalls({ engine, source: authority, log: decisions, clock: systemClock, region: 'here' });
  await using sessions = new Sessions({ runtimes: [runtime], tools });
  const { id } = await sessions.createSession({ tenant, grant: ['positions.*'] });
  const guest = [...runtime.machines.values()].at(-1)?.guest ?? assert.fail('there is a machine');
  const call = async (sql: string) => {
    assert.ok(guest.call);
    return await guest.call('positions', 'query', JSON.stringify({ sql }));
  };
  const codeOf = (answer: Awaited<ReturnType<typeof call>>): string => (answer.ok ? 'ok' : answer.error.code);

  assert.equal(codeOf(await call('SELECT 1')), 'tool_denied', 'there is no tool');
  await authority.putSecret(tenant, 'positions-password', password);
  await authority.putTool(tenant, 'positions', settings('globex'));
  assert.equal(codeOf(await call('SELECT 1')), 'tool_denied', 'no policy permits it');
  await authority.putPolicies(tenant, reads);
  assert.equal(codeOf(await call('SELECT symbol FROM positions')), 'ok');
  assert.equal(codeOf(await call('SELECT nothing FROM nowhere')), 'tool_failed');
  await authority.putPolicies(tenant, '');
  assert.equal(codeOf(await call('SELECT symbol FROM positions')), 'tool_denied', 'what was taken back counts at once');
  // What does not open any more fails without a word of why.
  await authority.putSecret(tenant, 'positions-password', null);
  await authority.putPolicies(tenant, reads);
  const broken = await call('SELECT 1');
  assert.equal(codeOf(broken), 'tool_failed');
  assert.ok(!JSON.stringify(broken).includes('password'));
  assert.ok(guest.call);
  assert.equal(
    codeOf(await guest.call('positions', 'query', '{"sql":"SELECT 1","sql":"SELECT 2"}')),
    'invalid_request',
  );

  const { items } = await decisions.list(tenant, { session: id });
  assert.deepEqual(
    items
      .toReversed()
      .map(({ outcome, reason, policies, error, endedAtUnixMs }) => [
        outcome,
        reason,
        policies,
        error,
        endedAtUnixMs !== null,
      ]),
    [
      ['deny', 'unknown', [], null, false],
      ['deny', 'no_policy', [], null, false],
      ['allow', 'policy', ['reads'], null, true],
      ['allow', 'policy', ['reads'], 'tool_failed', true],
      ['deny', 'no_policy', [], null, false],
      ['allow', 'policy', ['reads'], 'tool_failed', true],
    ],
  );
  const replays = await Promise.all(items.map((item) => decisions.replay(item)));
  assert.deepEqual(
    replays.map((replay) => replay?.same),
    [true, true, true, true, true, undefined],
  );
  const [newest] = items;
  assert.ok(newest);
  const whole = await decisions.compare(tenant, { session: id }, {});
  assert.deepEqual([whole.compared, whole.notAsked, whole.unreadable, whole.changes], [5, 1, 0, []]);
  await kept.database.transaction(tenant, (transaction) =>
    transaction
      .updateTable('decisions')
      .set({ outcome: 'deny', reason: 'no_policy' })
      .where('id', '=', newest.id)
      .execute(),
  );
  const [altered, ...others] = (await decisions.compare(tenant, { session: id }, {})).changes;
  assert.deepEqual(
    [altered?.decision.id, altered?.decision.outcome, altered?.after.outcome, others],
    [newest.id, 'deny', 'allow', []],
  );
  const asked = await decisions.request(newest);
  assert.deepEqual(asked?.context, { sql: 'SELECT 1' });
  const other = await newTenant('massive-dynamic');
  await assert.rejects(decisions.get(other, makeId('decision')), { code: 'not_found' });
  assert.deepEqual((await decisions.list(other, {})).items, []);
});

test('what an MCP server offers is kept with its settings, and is what calls are held to', async () => {
  await using peer = await openMcpPeer();
  const tenant = await newTenant('stark');
  await authority.putSecret(tenant, 'token', password);
  const credential = { in: 'bearer', secret: 'token' };
  const sent = { kind: 'mcp', description: 'x', url: peer.url, credential, addresses: ['127.0.0.0/8'] };
  const put = async (change: Record<string, unknown> = {}) =>
    await authority.putTool(tenant, 'quotes', toolSettingsSchema.parse({ ...sent, ...change }));
  await assert.rejects(put({ addresses: [] }), { code: 'tool_failed' });
  await assert.rejects(put({ only: ['none'] }), { code: 'invalid_request' });
  const [kept1] = (await put()).tools;
  assert.ok(kept1?.settings.kind === 'mcp');
  assert.deepEqual(Object.keys(kept1.settings.tools ?? {}), ['get_price_v1']);
  await authority.putPolicies(
    tenant,
    '@id("dax") permit(principal, action == Bulkhead::Action::"quotes.get_price_v1", resource) when { context.symbol == "DAX" };',
  );
  const runtime = new FakeRuntime({ clock: systemClock });
  const tools = new ToolCalls({ engine, source: authority, log: decisions, clock: systemClock, region: 'here' });
  await using sessions = new Sessions({ runtimes: [runtime], tools });
  await sessions.createSession({ tenant, grant: ['quotes.*'] });
  const guest = [...runtime.machines.values()].at(-1)?.guest ?? assert.fail('there is a machine');
  const call = async (symbol: string): Promise<string> => {
    const answer = await guest.call?.('quotes', 'get_price_v1', JSON.stringify({ symbol }));
    return answer?.ok === true ? 'ok' : (answer?.error.code ?? 'nothing');
  };
  assert.equal(await call('DAX'), 'ok');
  assert.equal(await call('CAC'), 'tool_denied');
  peer.tools = [{ ...echoTool, description: 'something else' }];
  for (const server of peer.servers.values()) await server.sendToolListChanged();
  await eventually('the change is noticed', async () => (await call('DAX')) === 'state_conflict');
  await assert.rejects(put({ tools: kept1.settings.tools }), { code: 'state_conflict' }, 'it is not that any more');
  await put();
  assert.equal(await call('DAX'), 'ok', 'approved again');
  assert.equal(peer.calls.filter(({ args }) => JSON.stringify(args).includes('CAC')).length, 0);
  peer.tools = [];
  await assert.rejects(put(), { code: 'state_conflict' }, 'a policy names what would be gone');
  assert.ok(!JSON.stringify(await authority.facts(tenant)).includes(password));
});

const noNames = { resolve: () => Promise.resolve([]) };

/** A port on this host that leads to the database, while it is open; otherwise who connects hears nothing. */
async function openRoad({ host }: ClientConfig): Promise<AsyncDisposable & { readonly port: number; open: boolean }> {
  const sockets = new Set<Socket>();
  const road = { port: 0, open: true, [Symbol.asyncDispose]: close };
  const server = createServer((socket) => {
    sockets.add(socket.on('error', () => undefined));
    if (!road.open) return;
    const database = connect(`${host}/.s.PGSQL.5432`);
    sockets.add(database.on('error', () => undefined));
    socket.pipe(database).pipe(socket);
  });
  async function close(): Promise<void> {
    for (const socket of sockets) socket.destroy();
    server.close();
    await once(server, 'close');
  }
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  road.port = address.port;
  return road;
}
