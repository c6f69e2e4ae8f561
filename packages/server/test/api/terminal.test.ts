import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect as dial } from 'node:net';
import { type TestContext, describe, test } from 'node:test';
import { type SessionId, limits, makeId } from '@bulkhead/protocol';
import { WebSocket } from 'ws';
import { SteppedClock } from '../../src/runtimes/fake/stepped-clock.ts';
import { type Edge, openEdge, until } from './edge-harness.ts';

const protocol = 'bulkhead.terminal.v1';

interface Client {
  readonly socket: WebSocket;
  /** What was printed so far. */
  text(): string;
  readonly texts: unknown[];
  readonly closed: Promise<{ readonly code: number; readonly reason: string }>;
}

async function openSession(edge: Edge, subject: string): Promise<SessionId> {
  const { id, ready } = edge.sessions.beginSession({ tenant: edge.tenant, subject });
  await ready;
  return id;
}

function connect(edge: Edge, path: string, authorization?: string, protocols: readonly string[] = [protocol]): Client {
  const socket = new WebSocket(`ws://127.0.0.1:${edge.port}${path}`, [...protocols], {
    headers: authorization === undefined ? {} : { authorization },
  });
  let printed = '';
  const texts: unknown[] = [];
  socket.on('message', (data: Buffer, isBinary) => {
    if (isBinary) printed += data.toString('latin1');
    else texts.push(JSON.parse(data.toString()));
  });
  const closed = new Promise<{ code: number; reason: string }>((resolve) => {
    socket.once('close', (code, reason) => resolve({ code, reason: reason.toString() }));
  });
  socket.on('error', () => undefined);
  return { socket, text: () => printed, texts, closed };
}

async function jsonOf(answer: Response): Promise<Readonly<Record<string, string>>> {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- held to the table by the server
  return (await answer.json()) as Readonly<Record<string, string>>;
}

/** The status that a client is refused with. */
async function refusal(client: Client): Promise<number> {
  const [, response] = await once(client.socket, 'unexpected-response');
  response.resume();
  client.socket.terminate();
  return response.statusCode;
}

async function openTerminal(context: TestContext): Promise<{ edge: Edge; session: SessionId; client: Client }> {
  const edge = await openEdge(context);
  const alice = edge.makeCaller('alice');
  const session = await openSession(edge, 'alice');
  const client = connect(edge, `/v1/sessions/${session}/terminal?columns=101&rows=31`, alice);
  await once(client.socket, 'open');
  await until(() => client.text() === '$ ', 'the prompt');
  return { edge, session, client };
}

describe('a terminal', () => {
  test('carries what is typed and printed, is resized and interrupted, and says how it ended', async (context) => {
    const { edge, client } = await openTerminal(context);
    const { socket } = client;
    assert.equal(socket.protocol, protocol);
    socket.send(Buffer.from('stty size\r'));
    await until(() => client.text().includes('31 101'), 'the size');
    socket.send(JSON.stringify({ type: 'resize', columns: 90, rows: 20 }));
    await until(() => {
      if (!client.text().includes('20 90')) socket.send(Buffer.from('stty size\r'));
      return client.text().includes('20 90');
    }, 'the new size');
    socket.send(JSON.stringify({ type: 'interrupt' }));
    await until(() => client.text().includes('^C'), 'the interrupt');
    socket.send(Buffer.from('exit 7\r'));
    assert.deepEqual(await client.closed, { code: 1000, reason: '' });
    assert.deepEqual(client.texts, [{ type: 'exit', exitCode: 7, signal: null }]);
    assert.equal(edge.machine().guest.terminals.size, 0);
  });

  test('ends when its client goes, in whatever way, and is activity until then', async (context) => {
    const { edge, session, client } = await openTerminal(context);
    const { guest } = edge.machine();
    assert.equal(guest.activeAtUnixMs > 0, true);
    client.socket.terminate();
    await until(() => guest.terminals.size === 0, 'the terminal is closed');
    assert.equal(guest.activeAtUnixMs, 0);
    const second = connect(edge, `/v1/sessions/${session}/terminal`, 'Bearer alice');
    await once(second.socket, 'open');
    second.socket.close();
    await until(() => guest.terminals.size === 0, 'the second is closed');
  });

  test('ends with its session and with the server, and says why', async (context) => {
    const { edge, session, client } = await openTerminal(context);
    const second = connect(edge, `/v1/sessions/${session}/terminal`, 'Bearer alice');
    await once(second.socket, 'open');
    edge.machine().crash();
    assert.deepEqual(await client.closed, { code: 1011, reason: 'machine_lost' });
    assert.deepEqual(await second.closed, { code: 1011, reason: 'machine_lost' });
    const other = await openSession(edge, 'alice');
    const third = connect(edge, `/v1/sessions/${other}/terminal`, 'Bearer alice');
    await once(third.socket, 'open');
    await edge.attachments.close(5000);
    assert.equal(
      [...edge.machines()].every(({ guest }) => guest.terminals.size === 0),
      true,
    );
    assert.deepEqual(await third.closed, { code: 1001, reason: 'server_stopping' });
  });

  test('is closed for messages that are none, and for one that is too long', async (context) => {
    const { edge, session, client } = await openTerminal(context);
    client.socket.send(Buffer.alloc(limits.terminalMessageMaxBytes + 1));
    assert.equal((await client.closed).code, 1009);
    const bad = [
      'resize',
      '{}',
      '[]',
      '{"type":"resize"}',
      '{"type":"resize","columns":0,"rows":1}',
      '{"type":"resize","columns":1e9,"rows":1}',
      '{"type":"kill"}',
      `{"type":"interrupt","x":"${'y'.repeat(5000)}"}`,
    ];
    for (const text of bad) {
      const each = connect(edge, `/v1/sessions/${session}/terminal`, 'Bearer alice');
      await once(each.socket, 'open');
      each.socket.send(text);
      assert.deepEqual(await each.closed, { code: 1008, reason: 'invalid_request' }, text);
    }
    await until(() => edge.machine().guest.terminals.size === 0, 'all are closed');
  });

  test('prints no faster than its client reads, and reads no faster than the guest takes', async (context) => {
    const { edge, client } = await openTerminal(context);
    const total = 40_000_000;
    client.socket.send(Buffer.from(`flood ${total}\r`));
    await until(() => client.text().length > 0, 'it begins');
    client.socket.pause();
    const [terminal] = edge.machine().guest.terminals;
    assert.ok(terminal);
    let before = -1;
    while (terminal.unread !== before) {
      before = terminal.unread;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    assert.ok(terminal.unread > total / 4, `only ${terminal.unread} bytes wait in the guest`);
    client.socket.resume();
    await until(() => terminal.unread === 0, 'all of it is read');
    terminal.takesNothing = true;
    const chunk = Buffer.alloc(65_536, 'x');
    for (let count = 0; count < 1000; count += 1) client.socket.send(chunk);
    before = -1;
    while (client.socket.bufferedAmount !== before) {
      before = client.socket.bufferedAmount;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    assert.ok(client.socket.bufferedAmount > 30_000_000, `only ${client.socket.bufferedAmount} bytes wait`);
    terminal.kill();
    assert.equal((await client.closed).code, 1000);
  });

  test('passes the last of many resizes, and not each', async (context) => {
    const { edge, client } = await openTerminal(context);
    const [terminal] = edge.machine().guest.terminals;
    assert.ok(terminal);
    for (let columns = 1; columns <= 1000; columns += 1) {
      client.socket.send(JSON.stringify({ type: 'resize', columns, rows: 10 }));
    }
    await until(() => terminal.columns === 1000, 'the last one');
    assert.ok(terminal.resizes < 500, `${terminal.resizes} resizes`);
  });
});

describe('who may open a terminal', () => {
  test('is decided before it is opened, as everywhere', async (context) => {
    const edge = await openEdge(context);
    const alice = edge.makeCaller('alice');
    const bob = edge.makeCaller('bob');
    const viewer = edge.makeCaller('viewer', { subject: 'alice', scopes: new Set(['sessions:read']) });
    const stranger = edge.makeCaller('stranger', { tenant: makeId('tenant'), subject: 'alice' });
    const path = `/v1/sessions/${await openSession(edge, 'alice')}/terminal`;
    assert.equal(await refusal(connect(edge, path)), 401);
    assert.equal(await refusal(connect(edge, path, 'Bearer nobody')), 401);
    assert.equal(await refusal(connect(edge, path, viewer)), 403);
    assert.equal(await refusal(connect(edge, path, bob)), 404);
    assert.equal(await refusal(connect(edge, path, stranger)), 404);
    assert.equal(await refusal(connect(edge, `/v1/sessions/${makeId('session')}/terminal`, alice)), 404);
    assert.equal(await refusal(connect(edge, `/v1/sessions/x/terminal`, alice)), 400);
    assert.equal(await refusal(connect(edge, `${path}?columns=0`, alice)), 400);
    assert.equal(await refusal(connect(edge, `${path}?key=secret`, alice)), 400);
    assert.equal(await refusal(connect(edge, path, alice, [])), 400);
    assert.equal(await refusal(connect(edge, path, alice, ['other'])), 400);
    assert.equal((await edge.ask('GET', path, alice)).status, 400);
    assert.equal(edge.machine().guest.terminals.size, 0);
  });

  test('a token opens one terminal of one session, once, for its caller, for a minute', async (context) => {
    const clock = new SteppedClock();
    const edge = await openEdge(context, { clock });
    const alice = edge.makeCaller('alice');
    const bob = edge.makeCaller('bob');
    const session = await openSession(edge, 'alice');
    const other = await openSession(edge, 'alice');
    const path = `/v1/sessions/${session}/terminal`;
    assert.equal((await edge.ask('POST', `${path}/tokens`, bob)).status, 404);
    const take = async (): Promise<string> => {
      const answer = await edge.ask('POST', `${path}/tokens`, alice);
      assert.equal(answer.status, 201);
      return (await jsonOf(answer))['token'] ?? '';
    };
    const withToken = (at: string, token: string): Client =>
      connect(edge, at, undefined, [protocol, `bulkhead.token.${token}`]);
    const token = await take();
    const client = withToken(path, token);
    await once(client.socket, 'open');
    assert.equal(client.socket.protocol, protocol);
    assert.equal(await refusal(withToken(path, token)), 401);
    assert.equal(await refusal(withToken(`/v1/sessions/${other}/terminal`, await take())), 401);
    const late = await take();
    await clock.advance(limits.terminalTokenMs);
    assert.equal(await refusal(withToken(path, late)), 401);
    assert.equal(await refusal(withToken(path, 'bht_nonsense')), 401);
    client.socket.terminate();
  });

  test('a session that sleeps is woken for a terminal', async (context) => {
    const edge = await openEdge(context);
    const alice = edge.makeCaller('alice');
    const session = await openSession(edge, 'alice');
    await edge.sessions.suspendSession(edge.tenant, session);
    const client = connect(edge, `/v1/sessions/${session}/terminal`, alice);
    await once(client.socket, 'open');
    assert.equal(edge.sessions.getSession(edge.tenant, session).state, 'ready');
    client.socket.terminate();
  });
});

describe('the listener', () => {
  test('exposes, lists and closes ports over the API, and carries their requests', async (context) => {
    const edge = await openEdge(context);
    const alice = edge.makeCaller('alice');
    const bob = edge.makeCaller('bob');
    const session = await openSession(edge, 'alice');
    edge.machine().guest.connections.servers.set(8000, (socket) => {
      socket.resume();
      socket.end('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello');
    });
    const ports = `/v1/sessions/${session}/ports`;
    assert.equal((await edge.ask('POST', ports, bob, { port: 8000 })).status, 404);
    const { id, token = '', path, expiresAt } = await jsonOf(await edge.ask('POST', ports, alice, { port: 8000 }));
    const through = (headers: Record<string, string>): Promise<Response> => fetch(`${edge.url}${path}`, { headers });
    assert.equal(await (await through({ 'x-bulkhead-port-token': token })).text(), 'hello');
    // A key is no token, and a token is no key.
    assert.equal((await through({ authorization: alice })).status, 401);
    assert.equal((await edge.ask('GET', ports, `Bearer ${token}`)).status, 401);
    const listed = await jsonOf(await edge.ask('GET', ports, alice));
    assert.deepEqual(listed, { items: [{ id, port: 8000, path, expiresAt }] });
    assert.equal((await edge.ask('DELETE', `${ports}/${id}`, bob)).status, 404);
    assert.equal((await edge.ask('DELETE', `${ports}/${id}`, alice)).status, 204);
    assert.equal((await through({ 'x-bulkhead-port-token': token })).status, 401);
    assert.equal((await edge.ask('DELETE', `${ports}/${id}`, alice)).status, 404);
  });

  test('answers a request that offers another protocol as the request that it is', async (context) => {
    const edge = await openEdge(context);
    const answer = await fetch(`${edge.url}/healthz`, { headers: { 'x-other': '1' } });
    assert.equal(answer.status, 200);
    const socket = dial(edge.port, '127.0.0.1');
    socket.write('GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\n\r\n');
    const [bytes] = await once(socket, 'data');
    assert.match(String(bytes), /^HTTP\/1\.1 200 /);
    socket.destroy();
  });
});
