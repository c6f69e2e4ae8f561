// Turns and commands as streams of events: cut, read again, read by many, read slowly, read by nobody.

import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';
import type { TurnEvent } from '@bulkhead/protocol';
import { mulberry32 } from '../../src/runtimes/fake/fake-runtime.ts';
import { collectEvents, readEvents, stdoutOf } from './event-reader.ts';
import { type Key, type TestService, expectStatus, startService, until } from './harness.ts';

let service: TestService;
let key: Key;
before(async () => {
  service = await startService();
  key = await service.makeKey(await service.makeTenant('streams'), { role: 'admin' });
});
after(() => service[Symbol.asyncDispose]());

const events = { accept: 'text/event-stream' };
async function newSession(): Promise<string> {
  return expectStatus(await service.call('POST', '/v1/sessions', { key: key.secret, body: {} }), 201).id;
}
async function startTurn(session: string, code: string, more: object = {}): Promise<string> {
  const body = { code, wait: 'none', ...more };
  const begun = await service.call('POST', `/v1/sessions/${session}/turns`, { key: key.secret, body });
  return expectStatus(begun, 201).id;
}
async function follow(session: string, turn: string, last = 0, signal?: AbortSignal): Promise<Response> {
  return await service.open('GET', `/v1/sessions/${session}/turns/${turn}/events`, {
    key: key.secret,
    headers: { ...events, ...(last === 0 ? {} : { 'last-event-id': String(last) }) },
    ...(signal === undefined ? {} : { signal }),
  });
}

test('a stream that is cut ten times at random is put together again byte for byte, and the code ran once', async (t) => {
  const random = mulberry32(Number(process.env['BULKHEAD_TEST_SEED'] ?? 7));
  const session = await newSession();
  const lines = 150;
  const code = [
    'n = n0 + 1',
    ...Array.from({ length: lines }, (_, line) => `print("line ${line} of ${'é'.repeat(line % 7)}")\nsleep(0.01)`),
  ];
  await service.call('POST', `/v1/sessions/${session}/turns`, { key: key.secret, body: { code: 'n0 = 0' } });
  const turn = await startTurn(session, code.join('\n'));
  const got: TurnEvent[] = [];
  let cuts = 0;
  while (got.at(-1)?.type !== 'end') {
    const cut = new AbortController();
    const response = await follow(session, turn, got.length, cut.signal);
    const keep = cuts < 10 ? 1 + Math.floor(random() * 12) : Number.POSITIVE_INFINITY;
    let read = 0;
    try {
      for await (const { id, data } of readEvents(response)) {
        assert.equal(Number(id), got.length + 1, 'each event once, in order');
        got.push(data as TurnEvent);
        read += 1;
        if (read >= keep) break;
      }
    } catch (error) {
      if (!cut.signal.aborted) throw error;
    }
    if (got.at(-1)?.type !== 'end') cuts += 1;
    cut.abort();
  }
  const expected = Array.from({ length: lines }, (_, line) => `line ${line} of ${'é'.repeat(line % 7)}\n`).join('');
  assert.equal(stdoutOf(got), expected);
  assert.ok(cuts >= 10, `${cuts} cuts`);
  t.diagnostic(`${cuts} cuts, ${got.length} events`);
  const again = await service.call('POST', `/v1/sessions/${session}/turns`, { key: key.secret, body: { code: 'n' } });
  assert.equal(expectStatus(again, 201).result.results[0]['text/plain'], '1', 'it ran once');
  const { items } = expectStatus(await service.call('GET', `/v1/sessions/${session}/turns`, { key: key.secret }), 200);
  assert.equal(items.length, 3);
});

test('many readers see the same, from wherever they begin, while it runs and when it is over', async () => {
  const session = await newSession();
  const code = Array.from({ length: 20 }, (_, line) => `print("line ${line}")\nsleep(0.02)`).join('\n');
  const turn = await startTurn(session, code);
  const readers = await Promise.all(
    [0, 0, 0, 3, 7].map(async (from) => collectEvents(await follow(session, turn, from))),
  );
  const [first = []] = readers;
  assert.equal(first.at(-1)?.type, 'end');
  for (const [index, from] of [0, 0, 0, 3, 7].entries()) assert.deepEqual(readers[index], first.slice(from));
  assert.deepEqual(await collectEvents(await follow(session, turn, 2)), first.slice(2));
  assert.deepEqual(await collectEvents(await follow(session, turn, first.length)), []);
  const page = await service.call('GET', `/v1/sessions/${session}/turns/${turn}/events?after=1&limit=2`, {
    key: key.secret,
  });
  assert.deepEqual(expectStatus(page, 200), { items: first.slice(1, 3), ended: false });
  const whole = await service.call('GET', `/v1/sessions/${session}/turns/${turn}/events`, { key: key.secret });
  assert.deepEqual(expectStatus(whole, 200), { items: first, ended: true });
});

test('a client that leaves does not end its turn; a cancel does', async () => {
  const session = await newSession();
  for (const headers of [{}, events]) {
    const gone = new AbortController();
    const body = { code: 'print("begun")\nsleep(0.3)\nx = 41' };
    const asked = service
      .open('POST', `/v1/sessions/${session}/turns`, { key: key.secret, body, headers, signal: gone.signal })
      .then(async (response) => await response.text())
      .catch(() => 'gone');
    await until(async () => (await state(session)) === 'busy', 'the turn runs');
    gone.abort();
    assert.equal(await asked, 'gone');
    await until(async () => (await state(session)) === 'ready', 'the turn ends by itself');
    const { items } = expectStatus(
      await service.call('GET', `/v1/sessions/${session}/turns`, { key: key.secret }),
      200,
    );
    const last = items.at(-1);
    const turn = expectStatus(
      await service.call('GET', `/v1/sessions/${session}/turns/${last.id}`, { key: key.secret }),
      200,
    );
    assert.equal(turn.result.status, 'ok');
  }
  const turn = await startTurn(session, 'while True: pass');
  const path = `/v1/sessions/${session}/turns/${turn}/cancel`;
  expectStatus(await service.call('POST', path, { key: key.secret }), 202);
  const told = await collectEvents(await follow(session, turn));
  const end = told.at(-1);
  assert.ok(end?.type === 'end' && end.outcome.error?.code === 'turn_interrupted');
  assert.equal(
    expectStatus(await service.call('POST', path, { key: key.secret }), 202).state,
    'ended',
    'again changes nothing',
  );
});

async function state(session: string): Promise<string> {
  return expectStatus(await service.call('GET', `/v1/sessions/${session}`, { key: key.secret }), 200).state;
}

test('a second turn meanwhile is refused, and says which one runs', async () => {
  const session = await newSession();
  const turn = await startTurn(session, 'sleep(5)');
  const refused = await service.call('POST', `/v1/sessions/${session}/turns`, { key: key.secret, body: { code: '1' } });
  assert.equal(expectStatus(refused, 409).code, 'state_conflict');
  assert.equal(refused.json.details.turn, turn);
  await service.call('POST', `/v1/sessions/${session}/turns/${turn}/cancel`, { key: key.secret });
});

test('a thousand idle streams cost little, keep nobody waiting, and are let go of', async (t) => {
  const session = await newSession();
  const turn = await startTurn(session, 'while True: pass');
  const { hostname, port } = new URL(service.url);
  const request = `GET /v1/sessions/${session}/turns/${turn}/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nAuthorization: Bearer ${key.secret}\r\n\r\n`;
  globalThis.gc?.();
  const rssBefore = process.memoryUsage.rss();
  const sockets = Array.from({ length: 1000 }, () => {
    const socket = connect(Number(port), hostname).on('error', () => undefined);
    socket.resume().write(request);
    return socket;
  });
  const { connections } = service.server.service;
  await until(() => connections.count === 1000, 'all of them are open', 30_000);
  const grownMib = (process.memoryUsage.rss() - rssBefore) / 1_048_576;
  const started = performance.now();
  const other = await newSession();
  const answer = await service.call('POST', `/v1/sessions/${other}/turns`, {
    key: key.secret,
    body: { code: '6 * 7' },
  });
  const answeredMs = performance.now() - started;
  assert.equal(expectStatus(answer, 201).result.results[0]['text/plain'], '42');
  t.diagnostic(
    `1,000 streams took ${grownMib.toFixed(0)} MiB of this process, client and server; a session and its turn took ${answeredMs.toFixed(0)} ms beside them`,
  );
  assert.ok(answeredMs < 2000);
  for (const socket of sockets) socket.destroy();
  await until(() => connections.count === 0, 'none is left', 30_000);
  await service.call('POST', `/v1/sessions/${session}/turns/${turn}/cancel`, { key: key.secret });
});

test('a tenant has so many streams, and another is not the less for it', async () => {
  const tenant = await service.makeTenant('many-streams');
  const theirs = await service.makeKey(tenant, { role: 'admin' });
  const { connections } = service.server.service;
  const open = Array.from({ length: 2000 }, () => connections.open(tenant));
  const session = expectStatus(await service.call('POST', '/v1/sessions', { key: theirs.secret, body: {} }), 201).id;
  const path = `/v1/sessions/${session}/turns`;
  const asked = { key: theirs.secret, body: { code: 'print(1)' }, headers: events };
  const refused = await service.call('POST', path, asked);
  assert.equal(expectStatus(refused, 429).code, 'quota_exceeded');
  assert.equal(refused.headers.get('retry-after'), '1');
  const mine = await service.open('POST', `/v1/sessions/${await newSession()}/turns`, { ...asked, key: key.secret });
  assert.equal((await collectEvents(mine)).at(-1)?.type, 'end');
  for (const each of open) each[Symbol.dispose]();
  const { items } = expectStatus(await service.call('GET', path, { key: theirs.secret }), 200);
  assert.equal(items.length, 0, 'a turn that cannot be followed was not begun');
});

test('a reader that is slow gets everything, and the server keeps no copy for it', async () => {
  const session = await newSession();
  const turn = await startTurn(session, 'fake.flood(6000000)');
  await until(async () => (await state(session)) === 'ready', 'the turn ends though nobody reads');
  const response = await follow(session, turn);
  let text = 0;
  for await (const { data } of readEvents(response)) {
    if (data.type === 'stdout') text += data.text.length;
    if (Math.random() < 0.05) await new Promise((resolve) => setTimeout(resolve, 1));
  }
  assert.equal(text, 6_000_000);
});

test('a command is told as it goes, and ends within its time and its bounds', async () => {
  const session = await newSession();
  const path = `/v1/sessions/${session}/commands`;
  const told: { type: string; text?: string; result?: { exitCode: number } }[] = [];
  const response = await service.open('POST', path, {
    key: key.secret,
    body: { argv: ['echo', 'hi'] },
    headers: events,
  });
  for await (const { data } of readEvents(response)) told.push(data);
  assert.deepEqual(
    told.map(({ type }) => type),
    ['stdout', 'end'],
  );
  assert.equal(told[0]?.text, 'hi\n');
  assert.equal(told[1]?.result?.exitCode, 0);
  const unknown = await service.call('POST', path, { key: key.secret, body: { argv: ['nothing'] } });
  assert.equal(expectStatus(unknown, 201).exitCode, 127);
});
