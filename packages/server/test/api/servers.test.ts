// Servers as processes: stopped, killed, started again, and two of them on one database.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, test } from 'node:test';
import { openDataDirectory } from '../../src/store/data-directory.ts';
import { EmbeddedPostgres } from '../../src/store/embedded-postgres.ts';
import { collectEvents, stdoutOf } from './event-reader.ts';
import { bytesOf, ask, expectStatus, until } from './harness.ts';
import { type ServerProcess, freePort, startServerProcess } from './server-process.ts';

const root = mkdtempSync(join(tmpdir(), 'bulkhead-servers-'));
after(() => rmSync(root, { recursive: true, force: true }));
const events = { accept: 'text/event-stream' };

test('told to stop, it takes no more, lets the turn end, puts sessions to sleep, and forgets nothing', async () => {
  const home = join(root, 'drain');
  let key = '';
  let session = '';
  let turn = '';
  {
    await using server = await startServerProcess(home);
    key = server.secret ?? assert.fail('the first start says a key');
    session = expectStatus(await server.call('POST', '/v1/sessions', { key, body: {} }), 201).id;
    const code = 'print("before")\nsleep(1)\nprint("after")';
    const waiting = server.call('POST', `/v1/sessions/${session}/turns`, { key, body: { code } });
    await until(
      async () => expectStatus(await server.call('GET', `/v1/sessions/${session}`, { key }), 200).state === 'busy',
      'it runs',
    );
    server.child.kill('SIGTERM');
    await until(() => server.said().includes('"stopping"'), 'it stops');
    const isRefused = (): Promise<boolean> =>
      ask(server.url, 'GET', '/healthz').then(
        () => false,
        () => true,
      );
    await until(isRefused, 'nobody listens any more');
    const answer = expectStatus(await waiting, 201);
    turn = answer.id;
    assert.equal(answer.result.stdout, 'before\nafter\n');
    assert.equal(await server.exited, 0);
    assert.match(server.said(), /"stopped"/);
  }
  await using again = await startServerProcess(home);
  assert.equal(again.secret, undefined, 'a key is told once');
  assert.equal(expectStatus(await again.call('GET', `/v1/sessions/${session}`, { key }), 200).state, 'suspended');
  const kept = expectStatus(await again.call('GET', `/v1/sessions/${session}/turns/${turn}`, { key }), 200);
  assert.equal(kept.result.stdout, 'before\nafter\n');
  const path = `/v1/sessions/${session}/turns/${turn}/events`;
  const all = await collectEvents(await ask(again.url, 'GET', path, { key, headers: events }));
  assert.equal(stdoutOf(all), 'before\nafter\n');
  const rest = await collectEvents(
    await ask(again.url, 'GET', path, { key, headers: { ...events, 'last-event-id': '1' } }),
  );
  assert.deepEqual(rest, all.slice(1), 'a reader goes on where it was, after a restart');
});

test('a turn that does not end in its time is ended, and said so; the second signal ends everything at once', async () => {
  const slow = join(root, 'slow');
  let key = '';
  let path = '';
  {
    await using server = await startServerProcess(slow, { BULKHEAD_DRAIN_SECONDS: '1' });
    key = server.secret ?? '';
    const session = expectStatus(await server.call('POST', '/v1/sessions', { key, body: {} }), 201).id;
    const waiting = server.call('POST', `/v1/sessions/${session}/turns`, { key, body: { code: 'while True: pass' } });
    await until(
      async () => expectStatus(await server.call('GET', `/v1/sessions/${session}`, { key }), 200).state === 'busy',
      'it runs',
    );
    server.child.kill('SIGTERM');
    const { id, result } = expectStatus(await waiting, 201);
    assert.equal(result.context, 'gone');
    assert.equal(await server.exited, 0);
    path = `/v1/sessions/${session}/turns/${id}`;
  }
  await using server = await startServerProcess(slow, { BULKHEAD_DRAIN_SECONDS: '60' });
  assert.equal(expectStatus(await server.call('GET', path, { key }), 200).result.context, 'gone');
  const session = expectStatus(await server.call('POST', '/v1/sessions', { key, body: {} }), 201).id;
  expectStatus(
    await server.call('POST', `/v1/sessions/${session}/turns`, {
      key,
      body: { code: 'while True: pass', wait: 'none' },
    }),
    201,
  );
  server.child.kill('SIGTERM');
  await until(() => server.said().includes('"stopping"'), 'it stops');
  const asked = performance.now();
  server.child.kill('SIGTERM');
  assert.equal(await server.exited, 130);
  assert.ok(performance.now() - asked < 5000, 'it did not wait for the turn');
});

test('two servers on one database: each serves the sessions of both; one that is killed loses nothing that was acknowledged', async (t) => {
  const directory = join(root, 'database');
  using data = await openDataDirectory(directory);
  await using postgres = await EmbeddedPostgres.start(data.path, data.lockFd);
  const { user = '', database = '', host = '' } = postgres.connection;
  const shared = {
    DATABASE_URL: `postgresql://${user}@localhost/${database}?host=${encodeURIComponent(host)}`,
    BULKHEAD_TURN_KEYS_DIR: join(root, 'turn-keys'),
    BULKHEAD_KEY_FILE: join(root, 'shared-key'),
  };
  const start = async (name: string): Promise<ServerProcess> => {
    const port = await freePort();
    const environment = { ...shared, BULKHEAD_PORT: String(port), BULKHEAD_PEER_URL: `http://127.0.0.1:${port}` };
    return await startServerProcess(join(root, name), environment);
  };
  await using one = await start('one');
  await using two = await start('two');
  const key = one.secret ?? assert.fail('the first server says a key');
  assert.equal(two.secret, undefined);
  const session = expectStatus(
    await one.call('POST', '/v1/sessions', { key, body: { labels: { on: 'one' } } }),
    201,
  ).id;
  const path = `/v1/sessions/${session}`;

  assert.equal(expectStatus(await two.call('GET', path, { key }), 200).labels.on, 'one');
  const listed = expectStatus(await two.call('GET', '/v1/sessions?labelKey=on', { key }), 200).items;
  assert.deepEqual(
    listed.map(({ id }: { readonly id: string }) => id),
    [session],
  );
  const turn = expectStatus(
    await two.call('POST', `${path}/turns`, { key, body: { code: 'x = 41\nprint(x + 1)' } }),
    201,
  );
  assert.equal(turn.result.stdout, '42\n');
  const again = expectStatus(await one.call('POST', `${path}/turns`, { key, body: { code: 'x' } }), 201);
  assert.equal(again.result.results[0]['text/plain'], '41', 'it is one session, whoever is asked');
  const streamed = await ask(two.url, 'POST', `${path}/turns`, {
    key,
    body: { code: 'print("a")\nsleep(0.1)\nprint("b")' },
    headers: events,
  });
  assert.equal(stdoutOf(await collectEvents(streamed)), 'a\nb\n');

  const content = Buffer.alloc(5_000_000, 'forward');
  const file = `${path}/files/content?path=a.bin`;
  expectStatus(
    await two.call('PUT', file, { key, body: content, headers: { 'content-type': 'application/octet-stream' } }),
    200,
  );
  const back = Buffer.from(await (await ask(two.url, 'GET', file, { key })).arrayBuffer());
  const digest = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
  assert.equal(digest(back), digest(content));

  const strangers = expectStatus(await one.call('POST', '/v1/tenants', { key, body: { name: 'stranger' } }), 201).id;
  const made = await one.call('POST', `/v1/tenants/${strangers}/keys`, { key, body: { name: 'x', role: 'admin' } });
  const stranger: string = expectStatus(made, 201).secret;
  const refused = [
    await one.call('POST', `${path}/turns`, { key: stranger, body: { code: '1' } }),
    await two.call('POST', `${path}/turns`, { key: stranger, body: { code: '1' } }),
  ];
  assert.deepEqual(
    refused.map((answer) => answer.status),
    [404, 404],
  );
  assert.equal(
    bytesOf(refused[0] ?? assert.fail()),
    bytesOf(refused[1] ?? assert.fail()),
    'the same from whichever server',
  );

  const around = await two.call('POST', `${path}/turns`, {
    key,
    body: { code: '1' },
    headers: { 'x-bulkhead-hops': '1' },
  });
  assert.equal(expectStatus(around, 503).code, 'host_unavailable', 'it goes no further than once');
  // A request may name its target whole: the host in it is nowhere to send a session's request, and its credential, to.
  await using elsewhere = await listenAnywhere();
  const raw = (target: string): Promise<string> => askRaw(two.url, `GET ${target} HTTP/1.1`, key);
  assert.match(await raw(`${path}/contexts`), /^HTTP\/1\.1 200 /);
  for (const target of [`${elsewhere.url}${path}/contexts`, `//${elsewhere.host}${path}/contexts`]) {
    assert.match(await raw(target), /^HTTP\/1\.1 4\d\d /, target);
  }
  assert.equal(elsewhere.connections(), 0);
  const conflict = await two.call('PATCH', path, { key, body: { labels: {} }, headers: { 'if-match': '"1"' } });
  assert.equal(conflict.status, 412, 'headers go along');

  const running = expectStatus(
    await two.call('POST', `${path}/turns`, { key, body: { code: 'sleep(60)', wait: 'none' } }),
    201,
  );
  one.child.kill('SIGKILL');
  await one.exited;
  const acknowledged = expectStatus(await two.call('GET', `${path}/turns/${turn.id}`, { key }), 200);
  assert.deepEqual(acknowledged.result, turn.result, 'what was acknowledged is there');
  assert.equal(
    stdoutOf(
      await collectEvents(await ask(two.url, 'GET', `${path}/turns/${turn.id}/events`, { key, headers: events })),
    ),
    '42\n',
  );
  assert.equal(expectStatus(await two.call('GET', `${path}/turns/${running.id}`, { key }), 200).state, 'running');
  for (const answer of [
    await two.call('POST', `${path}/turns`, { key, body: { code: '1' } }),
    await two.call('GET', `${path}/turns/${running.id}/events`, { key, headers: events }),
  ]) {
    assert.equal(expectStatus(answer, 503).code, 'host_unavailable');
    assert.ok(answer.headers.get('retry-after'));
  }
  const other = expectStatus(await two.call('POST', '/v1/sessions', { key, body: {} }), 201);
  assert.equal(other.state, 'ready', 'the other one goes on');

  await using returned = await start('one');
  assert.equal(returned.secret, undefined);
  const lost = expectStatus(await two.call('GET', path, { key }), 200);
  assert.deepEqual([lost.state, lost.error?.code], ['failed', 'machine_lost']);
  const ended = expectStatus(await two.call('GET', `${path}/turns/${running.id}`, { key }), 200);
  assert.equal(ended.result.error.code, 'machine_lost');
  t.diagnostic('served through the other, read after kill -9, told when it was back');
});

/** Somebody else's server, which counts who comes. */
async function listenAnywhere(): Promise<
  AsyncDisposable & { readonly host: string; readonly url: string; connections(): number }
> {
  let connections = 0;
  const server = createServer((socket) => {
    connections += 1;
    socket.destroy();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const host = `127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`;
  const closed = once(server, 'close');
  return {
    host,
    url: `http://${host}`,
    connections: () => connections,
    [Symbol.asyncDispose]: async () => {
      server.close();
      await closed;
    },
  };
}

/** A request in its own words, and all of its answer. */
async function askRaw(url: string, requestLine: string, key: string): Promise<string> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  const lines = [requestLine, 'Host: anywhere', `Authorization: Bearer ${key}`, 'Connection: close', '', ''];
  socket.write(lines.join('\r\n'));
  return await text(socket);
}
