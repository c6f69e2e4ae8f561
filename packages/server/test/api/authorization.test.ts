// Every route against every kind of caller. What has to come follows from the table; a route without an entry here is a type error, and fails.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
  type IdKind,
  type Operation,
  type RouteSpec,
  type Scope,
  type TenantId,
  fillPath,
  makeId,
  parseId,
  routeList,
} from '@bulkhead/protocol';
import {
  type Answer,
  type Key,
  type TestService,
  bytesOf,
  everyScope,
  expectStatus,
  startService,
  until,
} from './harness.ts';

interface Arranged {
  readonly params?: Readonly<Record<string, string>>;
  readonly query?: string;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}
interface Entry {
  /** Something of the tenant's first subject that the route can be asked about; new for each route. */
  readonly arrange: () => Arranged | Promise<Arranged>;
  /** What the right key is answered with, where the fake runtime cannot do it. */
  readonly status?: number;
}

let service: TestService;
let tenant: TenantId;
/** All scopes, the tenant's first subject. */
let owner: Key;

before(async () => {
  service = await startService();
  tenant = await service.makeTenant('owner');
  owner = await service.makeKey(tenant, { scopes: everyScope, subject: 'alice' });
});
after(() => service[Symbol.asyncDispose]());

async function post(
  path: string,
  body: unknown,
): Promise<{ readonly id: string; readonly name: string; readonly process: string }> {
  return expectStatus(await service.call('POST', path, { key: owner.secret, body }), 201);
}
async function session(): Promise<Arranged & { readonly params: { readonly session: string } }> {
  return { params: { session: (await post('/v1/sessions', {})).id } };
}
async function turn(): Promise<Arranged> {
  const { params } = await session();
  const { id } = await post(`/v1/sessions/${params.session}/turns`, { code: 'print(1)' });
  return { params: { ...params, turn: id } };
}
async function checkpoint(): Promise<Arranged> {
  const { params } = await session();
  await post(`/v1/sessions/${params.session}/checkpoints`, { name: 'one' });
  return { params: { ...params, checkpoint: 'one' } };
}
async function file(): Promise<Arranged> {
  const { params } = await session();
  const path = `/v1/sessions/${params.session}/files/content?path=a.txt`;
  expectStatus(await service.call('PUT', path, { key: owner.secret, body: 'hello', headers: asBytes }), 200);
  return { params, query: 'path=a.txt' };
}
async function background(): Promise<Arranged> {
  const { params } = await session();
  const { process } = await post(`/v1/sessions/${params.session}/processes`, { argv: ['echo', 'hello'] });
  return { params: { ...params, process } };
}
async function ownKey(): Promise<Arranged> {
  return { params: { tenant, key: (await service.makeKey(tenant, { role: 'developer' })).id } };
}
const asBytes = { 'content-type': 'application/octet-stream' };
const nothing = (): Arranged => ({});
const ofTenant = (): Arranged => ({ params: { tenant } });
const withBody = async (arranged: Promise<Arranged>, body: unknown): Promise<Arranged> => ({
  ...(await arranged),
  body,
});

const entries: Readonly<Record<Operation, Entry>> = {
  getHealth: { arrange: nothing },
  getReadiness: { arrange: nothing },
  getOpenApi: { arrange: nothing },
  getCaller: { arrange: nothing },
  getLimits: { arrange: nothing },
  listTemplates: { arrange: nothing },
  listRuntimes: { arrange: nothing },
  createTenant: { arrange: () => ({ body: { name: `made-${Date.now()}` } }) },
  listTenants: { arrange: nothing },
  getTenant: { arrange: ofTenant },
  updateTenant: { arrange: () => ({ params: { tenant }, body: { retentionDays: 10 } }) },
  deleteTenant: { arrange: async () => ({ params: { tenant: await service.makeTenant('to-delete') } }) },
  createKey: { arrange: () => ({ params: { tenant }, body: { name: 'new', role: 'viewer' } }) },
  listKeys: { arrange: ofTenant },
  getKey: { arrange: ownKey },
  rotateKey: { arrange: () => withBody(ownKey(), {}) },
  revokeKey: { arrange: ownKey },
  createSession: { arrange: () => ({ body: {} }) },
  listSessions: { arrange: nothing },
  getSession: { arrange: session },
  updateSession: { arrange: () => withBody(session(), { labels: { a: 'b' } }) },
  terminateSession: { arrange: session },
  suspendSession: { arrange: session },
  resumeSession: { arrange: session },
  forkSession: { arrange: () => withBody(session(), {}) },
  listCheckpoints: { arrange: checkpoint },
  createCheckpoint: { arrange: () => withBody(session(), { name: 'two' }) },
  restoreCheckpoint: { arrange: checkpoint },
  deleteCheckpoint: { arrange: checkpoint },
  startTurn: { arrange: () => withBody(session(), { code: '1' }) },
  listTurns: { arrange: session },
  getTurn: { arrange: turn },
  listTurnEvents: { arrange: turn },
  cancelTurn: { arrange: turn },
  listContexts: { arrange: session },
  restartContext: { arrange: () => withBody(session(), { language: 'python' }) },
  readFile: { arrange: file },
  writeFile: { arrange: async () => ({ ...(await session()), query: 'path=b.txt', body: 'b', headers: asBytes }) },
  listFiles: { arrange: file },
  statFile: { arrange: file },
  moveFile: { arrange: async () => ({ params: (await file()).params ?? {}, body: { from: 'a.txt', to: 'c.txt' } }) },
  makeDirectory: { arrange: () => withBody(session(), { path: 'd' }) },
  removeFile: { arrange: file },
  runCommand: { arrange: () => withBody(session(), { argv: ['true'] }) },
  startProcess: { arrange: () => withBody(session(), { argv: ['true'] }) },
  listProcesses: { arrange: session },
  readProcessOutput: { arrange: background },
  killProcess: { arrange: background },
  createTerminalToken: { arrange: session },
  // Who may have one and does not open a WebSocket.
  getAuthority: { arrange: ofTenant },
  putPolicies: { arrange: () => ({ params: { tenant }, body: { policies: '' } }) },
  checkPolicies: {
    arrange: () => ({ params: { tenant }, body: { policies: 'permit(principal, action, resource);' } }),
  },
  // There is no database at that address.
  putTool: {
    arrange: () => ({
      params: { tenant, tool: 'positions' },
      body: { kind: 'sql', description: 'positions', host: '127.0.0.1', port: 1, database: 'd', user: 'u', tls: 'off' },
    }),
    status: 502,
  },
  deleteTool: { arrange: () => ({ params: { tenant, tool: 'positions' } }) },
  putSecret: { arrange: () => ({ params: { tenant, secret: 'one' }, body: { value: 'a secret' } }) },
  deleteSecret: { arrange: () => ({ params: { tenant, secret: 'one' } }) },
  diffPolicies: { arrange: () => ({ params: { tenant }, body: { policies: '' } }) },
  replayDecisions: { arrange: () => ({ params: { tenant }, body: {} }) },
  disableSubject: { arrange: () => ({ params: { tenant, subject: 'mallory' } }) },
  enableSubject: { arrange: () => ({ params: { tenant, subject: 'mallory' } }) },
  listApprovals: { arrange: nothing },
  listSessionApprovals: { arrange: session },
  getApproval: { arrange: () => ({ params: { approval: makeId('approval') } }), status: 404 },
  approveCall: { arrange: () => ({ params: { approval: makeId('approval') }, body: {} }), status: 404 },
  refuseCall: { arrange: () => ({ params: { approval: makeId('approval') }, body: { reason: 'no' } }), status: 404 },
  explainDecision: { arrange: () => ({ params: { decision: makeId('decision') } }), status: 404 },
  listDecisions: { arrange: nothing },
  getDecision: { arrange: () => ({ params: { decision: makeId('decision') } }), status: 404 },
  replayDecision: { arrange: () => ({ params: { decision: makeId('decision') } }), status: 404 },
  openTerminal: { arrange: session, status: 400 },
  exposePort: { arrange: () => withBody(session(), { port: 8000 }) },
  listPorts: { arrange: session },
  closePort: { arrange: async () => ({ params: { ...(await session()).params, port: makeId('port') } }), status: 404 },
};

type Caller =
  | 'nobody'
  | 'a bad key'
  | 'an expired key'
  | 'a revoked key'
  | 'another tenant'
  | 'another subject'
  | 'too few scopes';
const strangers: readonly Caller[] = ['nobody', 'a bad key', 'an expired key', 'a revoked key'];

/** What a caller has to be answered with, from the table alone; undefined: as the right key is. */
function refusalOf({ scope, params }: RouteSpec, caller: Caller): number | undefined {
  if (scope === 'public') return undefined;
  if (strangers.includes(caller)) return 401;
  if (caller === 'too few scopes') return scope === 'caller' ? undefined : 403;
  const about = Object.keys(params?.shape ?? {});
  // Who administers the installation is no stranger to any tenant; nobody else has that scope.
  if (caller === 'another tenant') return scope === 'installation:admin' ? 403 : about.length > 0 ? 404 : undefined;
  return about.includes('session') ? 404 : undefined;
}

/** The same of ids that nobody has. */
function elsewhere(params: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const kinds: readonly IdKind[] = ['tenant', 'session', 'turn', 'key', 'port'];
  return Object.fromEntries(
    Object.entries(params).map(([name, value]) => {
      const kind = kinds.find((each) => parseId(each, value) !== undefined);
      return [name, kind === undefined ? value : makeId(kind)];
    }),
  );
}

test('every route is answered to every kind of caller as the table says', async (t) => {
  const other = await service.makeTenant('other');
  const allButAdmin = everyScope.filter((scope) => scope !== 'installation:admin');
  const expired = await service.call('POST', `/v1/tenants/${tenant}/keys`, {
    key: owner.secret,
    body: { name: 'short', scopes: allButAdmin, expiresAt: new Date(Date.now() + 300).toISOString() },
  });
  const revoked = await service.makeKey(tenant, { scopes: allButAdmin });
  await service.call('DELETE', `/v1/tenants/${tenant}/keys/${revoked.id}`, { key: owner.secret });
  const expiredSecret: string = expectStatus(expired, 201).secret;
  await until(
    async () => (await service.call('GET', '/v1/caller', { key: expiredSecret })).status === 401,
    'it expires',
  );
  const fixed: Readonly<Partial<Record<Caller, string | undefined>>> = {
    nobody: undefined,
    'a bad key': `${owner.secret.slice(0, -1)}${owner.secret.endsWith('0') ? '1' : '0'}`,
    'an expired key': expiredSecret,
    'a revoked key': revoked.secret,
    'another tenant': (await service.makeKey(other, { scopes: allButAdmin, subject: 'alice' })).secret,
    'another subject': (
      await service.makeKey(tenant, { scopes: everyScope.filter((scope) => scope !== 'sessions:any'), subject: 'bob' })
    ).secret,
  };
  const withoutScope = new Map<Scope, string>();
  for (const missing of everyScope) {
    const { secret } = await service.makeKey(tenant, {
      scopes: everyScope.filter((scope) => scope !== missing),
      subject: 'alice',
    });
    withoutScope.set(missing, secret);
  }
  const callers: readonly Caller[] = [...strangers, 'another tenant', 'another subject', 'too few scopes'];
  const wrong: string[] = [];
  let asked = 0;
  for (const route of routeList) {
    const entry = (entries as Readonly<Record<string, Entry | undefined>>)[route.operation];
    assert.ok(entry, `${route.operation} has no entry: say how to ask for it`);
    const arranged = await entry.arrange();
    const send = async (key: string | undefined, params = arranged.params ?? {}): Promise<Answer> => {
      asked += 1;
      const query = arranged.query === undefined ? '' : `?${arranged.query}`;
      const { body, headers = {} } = arranged;
      return await service.call(route.method, fillPath(route.path, params) + query, { key, body, headers });
    };
    const allowed: Caller[] = [];
    for (const caller of callers) {
      const key =
        caller === 'too few scopes' ? (withoutScope.get(route.scope as Scope) ?? owner.secret) : fixed[caller];
      const status = refusalOf(route, caller);
      if (status === undefined) {
        allowed.push(caller);
        continue;
      }
      const answer = await send(key);
      if (answer.status !== status)
        wrong.push(`${route.operation}, ${caller}: ${answer.status}, not ${status}: ${answer.text}`);
      if (status !== 404) continue;
      const params = arranged.params ?? {};
      const nobodys = elsewhere(params);
      const there = blank(bytesOf(answer), params);
      const notThere = blank(bytesOf(await send(key, nobodys)), nobodys);
      if (there !== notThere) wrong.push(`${route.operation}, ${caller}: not yours ${there}, not there ${notThere}`);
    }
    // Last: that nothing was done for anybody who was refused shows in that it can be done now.
    const right = await send(owner.secret);
    const status = entry.status ?? route.status;
    if (right.status !== status)
      wrong.push(`${route.operation}, the right key: ${right.status}, not ${status}: ${right.text}`);
    if (route.method !== 'GET') continue;
    for (const caller of allowed) {
      const answer = await send(caller === 'too few scopes' ? owner.secret : fixed[caller]);
      if (answer.status !== status)
        wrong.push(`${route.operation}, ${caller}: ${answer.status}, not ${status}: ${answer.text}`);
    }
  }
  t.diagnostic(`${routeList.length} routes, ${asked} requests, ${wrong.length} unexpected answers`);
  console.log(`authorization: ${routeList.length} routes, ${asked} requests, ${wrong.length} unexpected answers`);
  assert.deepEqual(wrong, []);
});

function blank(text: string, params: Readonly<Record<string, string>>): string {
  return Object.values(params).reduce((blanked, value) => blanked.replaceAll(value, '…'), text);
}

test('a list has what is the caller’s own', async () => {
  const { params } = await session();
  const bob = await service.makeKey(tenant, { role: 'developer', subject: 'bob' });
  const operator = await service.makeKey(tenant, { role: 'operator', subject: 'carol' });
  const stranger = await service.makeKey(await service.makeTenant('stranger'), { role: 'admin' });
  const idsOf = async (key: string, query = ''): Promise<readonly string[]> => {
    const { items } = expectStatus(await service.call('GET', `/v1/sessions?limit=200${query}`, { key }), 200);
    return items.map(({ id }: { readonly id: string }) => id);
  };
  assert.ok((await idsOf(owner.secret)).includes(params.session));
  assert.ok((await idsOf(operator.secret)).includes(params.session));
  assert.deepEqual(await idsOf(bob.secret), []);
  assert.deepEqual(await idsOf(bob.secret, '&subject=alice'), []);
  assert.deepEqual(await idsOf(stranger.secret), []);
});
