// The HTTP edge of MCP: who may ask, what a connection is bound to, what is bounded, what a client that lost its stream gets.

import assert from 'node:assert/strict';
import { request as httpRequest } from 'node:http';
import { test } from 'node:test';
import { makeId, roles } from '@bulkhead/protocol';
import { mcpLimits } from '../../src/api/mcp/mcp-limits.ts';
import { SteppedClock } from '../../src/runtimes/fake/stepped-clock.ts';
import { type McpHarness, call, eventually, openMcp, textOf, told } from './mcp-support.ts';

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

const initialize = {
  jsonrpc: '2.0',
  id: 1,
  method: 'initialize',
  params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'raw', version: '1' } },
};
const listTools = { jsonrpc: '2.0', id: 2, method: 'tools/list' };

interface RawRequest {
  readonly method?: string;
  readonly key?: string;
  readonly session?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  readonly signal?: AbortSignal;
}

function send(
  mcp: McpHarness,
  { method = 'POST', key, session, headers, body, signal }: RawRequest,
): Promise<Response> {
  return fetch(mcp.url, {
    method,
    headers: {
      accept: 'application/json, text/event-stream',
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(key === undefined ? {} : { authorization: `Bearer ${key}` }),
      ...(session === undefined ? {} : { 'mcp-session-id': session, 'mcp-protocol-version': '2025-11-25' }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    ...(signal === undefined ? {} : { signal }),
  });
}

async function ask(mcp: McpHarness, request: RawRequest): Promise<Answer> {
  const response = await send(mcp, request);
  return { status: response.status, headers: response.headers, text: await response.text() };
}

/** The id of a connection that has introduced itself. */
async function begin(mcp: McpHarness, key: string): Promise<string> {
  const { status, headers, text } = await ask(mcp, { key, body: initialize });
  assert.equal(status, 200, text);
  const session = headers.get('mcp-session-id') ?? '';
  assert.match(session, /^[\w-]{32}$/);
  const { status: taken } = await ask(mcp, {
    key,
    session,
    body: { jsonrpc: '2.0', method: 'notifications/initialized' },
  });
  assert.equal(taken, 202);
  return session;
}

function codeOf({ text }: Answer): string {
  return (JSON.parse(text) as { code: string }).code;
}

/** With a host of one's own choice, which `fetch` does not send. */
function askAs(mcp: McpHarness, key: string, headers: Readonly<Record<string, string>>): Promise<number> {
  return new Promise((resolve, reject) => {
    const body = JSON.stringify(initialize);
    const request = httpRequest(
      mcp.url,
      {
        method: 'POST',
        headers: {
          accept: 'application/json, text/event-stream',
          'content-type': 'application/json',
          'content-length': String(body.length),
          authorization: `Bearer ${key}`,
          ...headers,
        },
      },
      (response) => {
        response.resume();
        resolve(response.statusCode ?? 0);
      },
    );
    request.on('error', reject);
    request.end(body);
  });
}

test('without a key, or with a wrong one, nobody gets anything, and is told how to say who they are', async () => {
  await using mcp = await openMcp();
  const key = mcp.issueKey();
  const session = await begin(mcp, key);
  const answers = await Promise.all([
    ask(mcp, { body: initialize }),
    ask(mcp, { key: 'wrong', body: initialize }),
    ask(mcp, { session, body: listTools }),
    ask(mcp, { key: 'wrong', session, body: listTools }),
    ask(mcp, { method: 'GET', key: 'wrong', session, headers: { accept: 'text/event-stream' } }),
    ask(mcp, { method: 'DELETE', key: 'wrong', session }),
  ]);
  for (const answer of answers) {
    assert.equal(answer.status, 401);
    assert.equal(codeOf(answer), 'unauthenticated');
    assert.match(answer.headers.get('www-authenticate') ?? '', /^Bearer/);
  }
  assert.equal((await ask(mcp, { key, session, body: listTools })).status, 200, 'the connection is still there');
});

test("another caller's connection is answered for like one that does not exist, byte for byte", async () => {
  await using mcp = await openMcp();
  const tenant = makeId('tenant');
  const session = await begin(mcp, mcp.issueKey({ tenant, subject: 'ada' }));
  const strangers = {
    'another tenant': mcp.issueKey({ subject: 'ada' }),
    'another subject': mcp.issueKey({ tenant, subject: 'bob' }),
    'another key of the same subject': mcp.issueKey({ tenant, subject: 'ada', scopes: roles.viewer }),
  };
  for (const [who, key] of Object.entries(strangers)) {
    for (const method of ['POST', 'GET', 'DELETE']) {
      const body = method === 'POST' ? { body: listTools } : {};
      const theirs = await ask(mcp, { method, key, session, ...body, headers: { 'x-request-id': 'same' } });
      const none = await ask(mcp, {
        method,
        key,
        session: 'x'.repeat(32),
        ...body,
        headers: { 'x-request-id': 'same' },
      });
      assert.equal(theirs.status, 404, `${who} ${method}`);
      assert.deepEqual([theirs.status, theirs.text], [none.status, none.text], `${who} ${method}`);
    }
  }
  assert.equal(mcp.connections.count, 1);
});

test("another tenant's sessions do not exist, in any tool and as a resource", async () => {
  await using mcp = await openMcp();
  const owner = await mcp.connect(mcp.issueKey());
  const session = told(await call(owner, 'create_session'), 'session');
  await call(owner, 'write_file', { session, path: 'secret.txt', content: 'secret' });
  const stranger = await mcp.connect(mcp.issueKey());
  const nowhere = makeId('session');
  const tools: readonly (readonly [string, Record<string, unknown>])[] = [
    ['get_session', {}],
    ['run_code', { code: 'print(1)' }],
    ['run_command', { argv: ['true'] }],
    ['read_file', { path: 'secret.txt' }],
    ['write_file', { path: 'secret.txt', content: 'other' }],
    ['list_files', {}],
    ['suspend_session', {}],
    ['resume_session', {}],
    ['fork_session', {}],
    ['terminate_session', {}],
  ];
  for (const [tool, args] of tools) {
    const theirs = await call(stranger, tool, { ...args, session });
    const none = await call(stranger, tool, { ...args, session: nowhere });
    assert.equal(theirs.isError, true, tool);
    assert.match(textOf(theirs), /^error not_found: /, tool);
    assert.equal(textOf(theirs).replace(session, 'ID'), textOf(none).replace(nowhere, 'ID'), tool);
  }
  assert.deepEqual(told(await call(stranger, 'list_sessions'), 'sessions'), []);
  assert.deepEqual((await stranger.listResources()).resources, []);
  await assert.rejects(
    stranger.readResource({ uri: `bulkhead://sessions/${session}/files/secret.txt` }),
    (error: { code?: number }) => error.code === -32_002,
  );
  assert.equal(told(await call(owner, 'read_file', { session, path: 'secret.txt' }), 'content'), 'secret');
});

test('a request under another name, or from a page of another origin, is refused', async () => {
  await using mcp = await openMcp({ hostNames: ['bulkhead.example'], origins: ['https://console.example'] });
  const key = mcp.issueKey();
  const { port } = mcp.url;
  const allowed = [
    {},
    { host: `localhost:${port}` },
    { host: 'Bulkhead.Example' },
    { host: '10.1.2.3' },
    { host: '[fd00::1]:443' },
    { origin: `http://127.0.0.1:${port}`, host: `127.0.0.1:${port}` },
    { origin: 'https://console.example' },
  ];
  for (const headers of allowed) assert.equal(await askAs(mcp, key, headers), 200, JSON.stringify(headers));
  const refused = [
    { host: 'evil.example' },
    { host: `127.0.0.1.evil.example:${port}` },
    { host: 'bulkhead.example.evil.example' },
    { host: 'evil.example@127.0.0.1' },
    { host: `127.0.0.1:${port}`, origin: 'http://evil.example' },
    { host: `127.0.0.1:${port}`, origin: 'null' },
    { host: 'evil.example', origin: 'http://evil.example' },
    { host: `127.0.0.1:${port}`, origin: 'https://console.example.evil.example' },
    { host: `127.0.0.1:${port}`, origin: 'http://localhost:1' },
  ];
  for (const headers of refused) assert.equal(await askAs(mcp, key, headers), 403, JSON.stringify(headers));
});

test('what is too large, no JSON, no message or of another type is refused, and the connection goes on', async () => {
  await using mcp = await openMcp();
  const key = mcp.issueKey();
  const session = await begin(mcp, key);
  const large = { ...listTools, params: { padding: 'x'.repeat(mcpLimits.messageMaxBytes) } };
  const tooLarge = await ask(mcp, { key, session, body: large });
  assert.deepEqual([tooLarge.status, codeOf(tooLarge)], [413, 'limit_exceeded']);
  const deep = `{"jsonrpc":"2.0","id":3,"method":"ping","params":${'{"a":'.repeat(5000)}1${'}'.repeat(5000)}}`;
  const bad = [
    '{',
    '[]x',
    '"text"',
    'null',
    '{"jsonrpc":"1.0"}',
    deep,
    '{"jsonrpc":"2.0","jsonrpc":"2.0","id":1,"method":"ping"}',
  ];
  for (const body of bad) assert.equal((await ask(mcp, { key, session, body })).status, 400, body.slice(0, 40));
  assert.equal((await ask(mcp, { key, session, body: 'a=b', headers: { 'content-type': 'text/plain' } })).status, 415);
  assert.equal((await ask(mcp, { key, body: listTools })).status, 400, 'without a session');
  const batch = Array.from({ length: mcpLimits.batchMaxCount + 1 }, (_, id) => ({
    jsonrpc: '2.0',
    id,
    method: 'ping',
  }));
  assert.equal((await ask(mcp, { key, session, body: batch })).status, 413);
  assert.equal((await ask(mcp, { key, session, body: listTools })).status, 200);
  assert.equal(mcp.connections.count, 1);
});

test('an introduction that fails leaves no connection', async () => {
  await using mcp = await openMcp();
  const key = mcp.issueKey();
  const refused = await ask(mcp, { key, body: initialize, headers: { accept: 'application/json' } });
  assert.equal(refused.status, 406);
  assert.equal(mcp.connections.count, 0);
});

test('every message of a batch counts against the rate', async () => {
  await using mcp = await openMcp();
  const key = mcp.issueKey({ subject: 'ada' });
  const session = await begin(mcp, key);
  const before = mcp.spent.get('ada') ?? 0;
  const batch = Array.from({ length: 10 }, (_, id) => ({ jsonrpc: '2.0', id: id + 1, method: 'ping' }));
  assert.equal((await ask(mcp, { key, session, body: batch })).status, 200);
  assert.equal((mcp.spent.get('ada') ?? 0) - before, 10);
});

test('arguments that do not fit the schema are refused with every problem, and nothing is done', async () => {
  await using mcp = await openMcp();
  const client = await mcp.connect(mcp.issueKey());
  const bad: readonly (readonly [string, Record<string, unknown>])[] = [
    ['run_code', {}],
    ['run_code', { code: 1 }],
    ['run_code', { code: '1', language: 'cobol' }],
    ['run_code', { code: '1', timeoutMs: 0 }],
    ['run_code', { code: '1', context: '../x' }],
    ['run_code', { code: '1', session: 'ses_short' }],
    ['run_code', { code: '1', session: makeId('turn') }],
    ['run_code', { code: '1', unknown: true }],
    ['create_session', { size: 'huge' }],
    ['create_session', { labels: { 'Not A Key': '' } }],
    ['create_session', { timeLimits: { idleMs: -1 } }],
    ['fork_session', { session: makeId('session'), count: 10_000 }],
    ['read_file', { path: 'a\0b' }],
    ['read_file', { path: 'a', maxBytes: 1e9 }],
    ['write_file', { path: '', content: '' }],
    ['write_file', { path: 'a', content: '!', encoding: 'base64' }],
    ['run_command', { argv: [] }],
    ['run_command', { argv: ['a\0'] }],
    ['run_command', { argv: ['env'], env: { 'A=B': '' } }],
  ];
  for (const [tool, args] of bad) {
    const answer = await call(client, tool, args);
    assert.equal(answer.isError, true, `${tool} ${JSON.stringify(args)}`);
    assert.match(textOf(answer), /^error invalid_request: /, `${tool} ${JSON.stringify(args)}`);
  }
  await assert.rejects(call(client, 'no_such_tool'));
  assert.equal(mcp.runtime.machines.size, 0);
});

test('a caller has so many connections; one that has been silent for a while makes room', async () => {
  const clock = new SteppedClock();
  await using mcp = await openMcp({ clock });
  const key = mcp.issueKey();
  const sessions: string[] = [];
  while (sessions.length < mcpLimits.connectionsPerCallerMaxCount) sessions.push(await begin(mcp, key));
  const tooMany = await ask(mcp, { key, body: initialize });
  assert.deepEqual([tooMany.status, codeOf(tooMany)], [429, 'quota_exceeded']);
  assert.equal((await ask(mcp, { key: mcp.issueKey(), body: initialize })).status, 200, 'others are not concerned');
  await clock.advance(mcpLimits.connectionYieldMs + 1);
  const [first = '', second = ''] = sessions;
  assert.equal((await ask(mcp, { key, session: first, body: listTools })).status, 200);
  assert.equal((await ask(mcp, { key, body: initialize })).status, 200);
  assert.equal((await ask(mcp, { key, session: first, body: listTools })).status, 200);
  assert.equal((await ask(mcp, { key, session: second, body: listTools })).status, 404);
});

test('a connection that nothing is heard of is closed, and its own session with it; one with an open stream is not', async () => {
  const clock = new SteppedClock();
  await using mcp = await openMcp({ clock });
  const silentKey = mcp.issueKey();
  const silent = await begin(mcp, silentKey);
  const runs = {
    jsonrpc: '2.0',
    id: 5,
    method: 'tools/call',
    params: { name: 'run_code', arguments: { code: 'x = 1' } },
  };
  assert.match((await ask(mcp, { key: silentKey, session: silent, body: runs })).text, /ses_/);
  assert.equal(mcp.runtime.machines.size, 1);
  const listening = mcp.issueKey();
  const open = await begin(mcp, listening);
  const stop = new AbortController();
  const stream = await send(mcp, {
    method: 'GET',
    key: listening,
    session: open,
    headers: { accept: 'text/event-stream' },
    signal: stop.signal,
  });
  assert.equal(stream.status, 200);
  await clock.advance(mcpLimits.connectionIdleMs + 60_000);
  await eventually('the silent one is gone', () => mcp.connections.count === 1 && mcp.runtime.machines.size === 0);
  assert.equal((await ask(mcp, { key: silentKey, session: silent, body: listTools })).status, 404);
  assert.equal((await ask(mcp, { key: listening, session: open, body: listTools })).status, 200);
  stop.abort();
});

test('a client that lost its stream gets what it missed, and the code ran once', async () => {
  await using mcp = await openMcp();
  const key = mcp.issueKey();
  const session = await begin(mcp, key);
  const own = await mcp.connect(key);
  const id = told(await call(own, 'create_session'), 'session');
  await call(own, 'run_code', { session: id, code: 'n = 0' });
  const runs = {
    jsonrpc: '2.0',
    id: 7,
    method: 'tools/call',
    params: { name: 'run_code', arguments: { session: id, code: 'n = n + 1\nsleep(0.3)\nprint(n)' } },
  };
  const stop = new AbortController();
  const cut = await send(mcp, { key, session, body: runs, signal: stop.signal });
  const reader = cut.body?.getReader();
  const first = new TextDecoder().decode((await reader?.read())?.value);
  const last = /^id: (\d+)$/m.exec(first)?.[1];
  assert.ok(last !== undefined, first);
  stop.abort();
  await reader?.read().catch(() => undefined);
  const again = await send(mcp, {
    method: 'GET',
    key,
    session,
    headers: { accept: 'text/event-stream', 'last-event-id': last },
  });
  assert.equal(again.status, 200);
  let text = '';
  const decoder = new TextDecoder();
  for await (const chunk of again.body ?? []) {
    text += decoder.decode(chunk, { stream: true });
    if (text.includes('"id":7')) break;
  }
  assert.match(text, /"stdout":"1\\n"/);
  const unknown = await ask(mcp, {
    method: 'GET',
    key,
    session,
    headers: { accept: 'text/event-stream', 'last-event-id': '999999' },
  });
  assert.equal(unknown.status, 400);
});

test('a stream that was cut can be opened again at once; a second one beside it cannot', async () => {
  await using mcp = await openMcp();
  const key = mcp.issueKey();
  const session = await begin(mcp, key);
  const listen = (signal: AbortSignal): Promise<Response> =>
    send(mcp, { method: 'GET', key, session, headers: { accept: 'text/event-stream' }, signal });
  for (let round = 0; round < 3; round += 1) {
    const stop = new AbortController();
    let stream: Response | undefined;
    await eventually('the stream is open', async () => (stream = await listen(stop.signal)).status === 200, 2000);
    const second = await listen(AbortSignal.timeout(2000));
    assert.equal(second.status, 409);
    stop.abort();
    await stream?.text().catch(() => undefined);
  }
});

test('many clients at once each see their own', async () => {
  await using mcp = await openMcp();
  const clients = await Promise.all(Array.from({ length: 24 }, () => mcp.connect(mcp.issueKey())));
  const printed = await Promise.all(
    clients.map(async (client, index) => {
      await call(client, 'run_code', { code: `x = ${index}` });
      return told(await call(client, 'run_code', { code: 'print(x)' }), 'stdout');
    }),
  );
  assert.deepEqual(
    printed,
    clients.map((_, index) => `${index}\n`),
  );
  assert.equal(mcp.connections.count, clients.length);
});

test('DELETE ends a connection, also with the type of a body that is not there', async () => {
  await using mcp = await openMcp();
  const key = mcp.issueKey();
  for (const headers of [{}, { 'content-type': 'application/json' }]) {
    const session = await begin(mcp, key);
    assert.equal((await ask(mcp, { method: 'DELETE', key, session, headers })).status, 200);
    assert.equal((await ask(mcp, { key, session, body: listTools })).status, 404);
  }
  assert.equal(mcp.connections.count, 0);
});

test('closing the server ends connections, streams and the sessions that were theirs alone', async () => {
  const mcp = await openMcp();
  const key = mcp.issueKey();
  const client = await mcp.connect(key);
  await call(client, 'run_code', { code: 'x = 1' });
  const running = call(client, 'run_code', { code: 'while True: pass' });
  running.catch(() => undefined);
  assert.equal(mcp.runtime.machines.size, 1);
  await mcp.app.close();
  assert.equal(mcp.connections.count, 0);
  assert.equal(mcp.runtime.machines.size, 0);
  await client.close();
  await mcp[Symbol.asyncDispose]();
});
