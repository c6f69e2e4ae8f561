// A request that creates something, asked again with its key: done once, answered alike.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { routeList } from '@bulkhead/protocol';
import { collectEvents, readEvents } from './event-reader.ts';
import { type Answer, type Key, type TestService, expectStatus, startService, until } from './harness.ts';

let service: TestService;
let key: Key;
before(async () => {
  service = await startService();
  key = await service.makeKey(await service.makeTenant('idempotency'), { role: 'admin' });
});
after(() => service[Symbol.asyncDispose]());

let names = 0;
const newKey = (): string => `again-${(names += 1)}`;
async function post(path: string, body: unknown, idempotencyKey: string, secret = key.secret): Promise<Answer> {
  return await service.call('POST', path, { key: secret, body, headers: { 'idempotency-key': idempotencyKey } });
}
async function newSession(): Promise<string> {
  return expectStatus(await service.call('POST', '/v1/sessions', { key: key.secret, body: {} }), 201).id;
}
async function count(path: string): Promise<number> {
  return expectStatus(await service.call('GET', path, { key: key.secret }), 200).items.length;
}

test('many at once with one key: one is created, all have the same answer', async () => {
  const sessions = await count('/v1/sessions?limit=200');
  const again = newKey();
  const answers = await Promise.all(
    Array.from({ length: 12 }, () => post('/v1/sessions', { labels: { a: 'b' } }, again)),
  );
  const ids = new Set(answers.map((answer) => expectStatus(answer, 201).id));
  assert.equal(ids.size, 1);
  assert.equal(new Set(answers.map(({ text }) => text)).size, 1);
  assert.equal(await count('/v1/sessions?limit=200'), sessions + 1);
});

test('the key of another request is refused; another caller has keys of its own', async () => {
  const again = newKey();
  expectStatus(await post('/v1/sessions', {}, again), 201);
  assert.equal(expectStatus(await post('/v1/sessions', { size: 'medium' }, again), 409).code, 'idempotency_conflict');
  const session = await newSession();
  assert.equal(
    expectStatus(await post(`/v1/sessions/${session}/commands`, { argv: ['true'] }, again), 409).code,
    'idempotency_conflict',
  );
  const other = await service.makeKey(key.tenant, { role: 'developer', subject: 'somebody-else' });
  expectStatus(await post('/v1/sessions', {}, again, other.secret), 201);
});

test('what was refused for good is refused again; what may be tried again is tried again', async () => {
  const again = newKey();
  const first = expectStatus(await post('/v1/sessions', { minimumTier: 'vm-kvm' }, again), 409);
  const second = expectStatus(await post('/v1/sessions', { minimumTier: 'vm-kvm' }, again), 409);
  assert.deepEqual([first.code, second.code], ['tier_unavailable', 'tier_unavailable']);
});

test('a turn runs once, however it is waited for', async () => {
  const session = await newSession();
  const turns = `/v1/sessions/${session}/turns`;
  await service.call('POST', turns, { key: key.secret, body: { code: 'n = 0' } });
  const again = newKey();
  const body = { code: 'n = n + 1\nprint(n)\nsleep(0.1)' };
  const answers = await Promise.all(Array.from({ length: 8 }, () => post(turns, body, again)));
  for (const answer of answers) assert.equal(expectStatus(answer, 201).result.stdout, '1\n');
  const headers = { accept: 'text/event-stream', 'idempotency-key': again };
  const streamed = await service.open('POST', turns, { key: key.secret, body, headers });
  const told = await collectEvents(streamed);
  assert.deepEqual(
    told.map(({ type }) => type),
    ['stdout', 'end'],
  );
  assert.equal(await count(turns), 2);
});

test('a client that is cut off while it waits asks again, and has the result of the first', async () => {
  const session = await newSession();
  const turns = `/v1/sessions/${session}/turns`;
  const again = newKey();
  const body = { code: 'print("once")\nsleep(0.4)' };
  const cut = new AbortController();
  const asked = { key: key.secret, body, headers: { 'idempotency-key': again } };
  const lost = service.open('POST', turns, { ...asked, signal: cut.signal }).catch(() => 'cut');
  await until(async () => (await count(turns)) === 1, 'it has begun');
  cut.abort();
  assert.equal(await lost, 'cut');
  assert.equal(expectStatus(await service.call('POST', turns, asked), 201).result.stdout, 'once\n');
  assert.equal(await count(turns), 1);
});

test('a command runs once; its stream is told again from what was kept', async () => {
  const session = await newSession();
  const path = `/v1/sessions/${session}/commands`;
  const again = newKey();
  const body = { argv: ['echo', 'hi'] };
  const headers = { accept: 'text/event-stream', 'idempotency-key': again };
  const runs = [];
  for (let run = 0; run < 2; run += 1) {
    const told = [];
    for await (const { data } of readEvents(await service.open('POST', path, { key: key.secret, body, headers })))
      told.push(data);
    runs.push(told);
  }
  assert.deepEqual(runs[0], runs[1], 'with the time that it took the first time');
  assert.equal(expectStatus(await post(path, body, again), 201).stdout, 'hi\n');
});

test('every route that creates takes a key, and no other does', async () => {
  const creating = routeList.filter(({ creates }) => creates === true).map(({ operation }) => operation);
  assert.ok(creating.length >= 8);
  const session = await newSession();
  const bodies: Readonly<Record<string, readonly [path: string, body: unknown]>> = {
    createTenant: ['/v1/tenants', { name: 'once' }],
    createKey: [`/v1/tenants/${key.tenant}/keys`, { name: 'once', role: 'viewer' }],
    createCheckpoint: [`/v1/sessions/${session}/checkpoints`, { name: 'once' }],
    forkSession: [`/v1/sessions/${session}/fork`, { count: 2 }],
  };
  for (const [operation, [path, body]] of Object.entries(bodies)) {
    assert.ok(creating.some((each) => each === operation));
    const again = newKey();
    const secret = operation === 'createTenant' ? service.admin.secret : key.secret;
    const [first, second] = [await post(path, body, again, secret), await post(path, body, again, secret)];
    assert.equal(first.status, 201, first.text);
    assert.equal(second.text, first.text, operation);
  }
});
