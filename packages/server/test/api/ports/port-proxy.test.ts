import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { describe, test } from 'node:test';
import { limits, makeId } from '@bulkhead/protocol';
import {
  type Echo,
  ask,
  expose,
  guestPort,
  openEcho,
  openPortHarness,
  sendRaw,
  startRequest,
  until,
} from './port-harness.ts';

describe('a request for a port', () => {
  test('reaches the server in the session with its method, path, query and body', async (context) => {
    const harness = await openEcho(context);
    const answer = await ask(
      harness,
      `${harness.path}/a/b%20c?x=1&y=%2F..`,
      { ...harness.auth, 'content-type': 'text/x' },
      { method: 'POST', body: 'hello' },
    );
    assert.equal(answer.status, 200);
    const echo: Echo = JSON.parse(answer.body);
    assert.deepEqual([echo.method, echo.url, echo.body], ['POST', '/a/b%20c?x=1&y=%2F..', 'hello']);
    assert.equal(echo.headers['content-type'], 'text/x');
    assert.equal(echo.headers.host, `localhost:${guestPort}`);
    assert.equal(echo.headers['x-forwarded-prefix'], harness.path);
    assert.equal(echo.headers['x-forwarded-host'], `127.0.0.1:${harness.port}`);
    assert.equal(echo.headers['x-forwarded-proto'], 'http');
  });

  test('carries none of our credentials, no one else’s cookie, and nothing that belongs to a connection', async (context) => {
    const harness = await openEcho(context);
    const answer = await ask(harness, `${harness.path}/?bulkhead_token=${harness.token}&q=1`, {
      ...harness.auth,
      authorization: 'Bearer secret-key',
      'proxy-authorization': 'Basic secret-key',
      cookie: `bulkhead_port_token=${harness.token}; sso=secret-key; bhg_sid=mine; __Host-bulkhead=secret-key`,
      connection: 'x-private, keep-alive',
      'x-private': 'secret-key',
      forwarded: 'for=secret-key',
      'x-forwarded-for': '10.0.0.1',
      'x-bulkhead-anything': 'secret-key',
      'x-bulkhead-guest-authorization': 'Basic for-the-guest',
    });
    const echo: Echo = JSON.parse(answer.body);
    assert.doesNotMatch(answer.body, /secret-key/);
    assert.equal(answer.body.includes(harness.token), false);
    assert.equal(echo.url, '/?q=1');
    assert.equal(echo.headers.cookie, 'sid=mine');
    assert.equal(echo.headers.authorization, 'Basic for-the-guest');
    assert.equal(echo.headers['x-forwarded-for'], '127.0.0.1');
  });

  test('is refused with the same answer without a token, with a wrong one, and where there is no port', async (context) => {
    const harness = await openEcho(context);
    const other = expose(harness);
    const answers = [
      await ask(harness, `${harness.path}/`),
      await ask(harness, `${harness.path}/`, other.auth),
      await ask(harness, `${harness.path}/`, { 'x-bulkhead-port-token': `bhp_${'A'.repeat(43)}` }),
      await ask(harness, `${harness.path}/?bulkhead_token=${other.token}`),
      await ask(harness, `${harness.path}/`, { cookie: `bulkhead_port_token=${other.token}` }),
      await ask(harness, `/p/${makeId('port')}/`, harness.auth),
      await ask(harness, '/p/prt_short/', harness.auth),
    ];
    const withoutId = answers.map(({ status, body }) => [status, body.replace(/req_\w+/, '')]);
    assert.equal(answers[0]?.status, 401);
    for (const each of withoutId) assert.deepEqual(each, withoutId[0]);
    assert.equal(harness.machine().guest.connections.count, 0);
  });

  test('streams both ways, with memory that does not grow, and what it carries arrives as it was', async (context) => {
    const harness = await openPortHarness(context);
    const { path, auth } = expose(harness);
    harness.serve((request, response) => request.pipe(response));
    const content = randomBytes(20_000_000);
    const answer = await startRequest(harness, { path: `${path}/`, method: 'POST', headers: auth }, content);
    const hash = createHash('sha256');
    for await (const bytes of answer) hash.update(bytes);
    assert.equal(hash.digest('hex'), createHash('sha256').update(content).digest('hex'));
  });

  test('holds a server back while its client does not read', async (context) => {
    const harness = await openPortHarness(context);
    const { path, auth } = expose(harness);
    let written = 0;
    harness.serve((_request, response) => {
      const write = (): void => {
        while (written < 500_000_000) {
          written += 65_536;
          if (!response.write(Buffer.alloc(65_536))) break;
        }
      };
      response.on('drain', write);
      write();
    });
    const answer = await startRequest(harness, { path: `${path}/`, headers: auth });
    answer.pause();
    let before = -1;
    while (written !== before) {
      before = written;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    assert.ok(written < 50_000_000, `the server wrote ${written} bytes that nobody read`);
    answer.destroy();
    await until(() => harness.machine().guest.connections.count === 0, 'the connection is closed');
  });

  test('an answer that is cut off is not taken for a whole one', async (context) => {
    const harness = await openPortHarness(context);
    const { path, auth } = expose(harness);
    const cut = Promise.withResolvers<void>();
    harness.serve((_request, response) => {
      response.writeHead(200, { 'content-length': 1000 });
      response.write('half');
      void cut.promise.then(() => response.socket?.destroy());
    });
    const answer = await startRequest(harness, { path: `${path}/`, headers: auth });
    const content = assert.rejects(buffer(answer));
    cut.resolve();
    await content;
  });

  test('an answer that comes before the request has been read ends it', async (context) => {
    const harness = await openPortHarness(context);
    const { path, auth } = expose(harness);
    harness.serve((_request, response) => response.writeHead(413).end('too large'));
    const socket = connect(harness.port, '127.0.0.1');
    socket.on('error', () => undefined);
    socket.write(
      `POST ${path}/ HTTP/1.1\r\nHost: x\r\nX-Bulkhead-Port-Token: ${auth['x-bulkhead-port-token']}\r\nContent-Length: 100000000\r\n\r\nxxx`,
    );
    const answer = (await buffer(socket)).toString();
    assert.match(answer, /^HTTP\/1\.1 413 /);
    assert.match(answer, /connection: close/i);
  });

  test('what is no HTTP, what has too long a header, and what hangs up is one typed answer', async (context) => {
    const harness = await openPortHarness(context);
    const { path, auth } = expose(harness);
    const ways: Record<string, string> = {
      nonsense: 'SSH-2.0-OpenSSH\r\n\r\n',
      'two lengths': 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx',
      'a long header': `HTTP/1.1 200 OK\r\nX: ${'y'.repeat(40_000)}\r\n\r\n`,
      'a status that is none': 'HTTP/1.1 099 No\r\n\r\n',
      'an upgrade that nobody asked for': 'HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n',
      nothing: '',
    };
    for (const [name, bytes] of Object.entries(ways)) {
      harness.machine().guest.connections.servers.set(guestPort, (socket) => {
        socket.resume();
        socket.end(bytes);
      });
      const answer = await ask(harness, `${path}/`, auth);
      assert.equal(answer.status, 502, `${name}: ${answer.body}`);
      assert.equal(JSON.parse(answer.body).code, 'port_unreachable', name);
    }
    harness.machine().guest.connections.servers.clear();
    assert.equal(JSON.parse((await ask(harness, `${path}/`, auth)).body).code, 'port_unreachable');
    await until(() => harness.machine().guest.connections.count === 0, 'no connection is left');
  });
});

describe('what a server in a session answers', () => {
  test('sets no cookie beyond its place, and has no say about ours', async (context) => {
    const harness = await openPortHarness(context);
    const { path, auth } = expose(harness);
    harness.serve((_request, response) => {
      response.setHeader('set-cookie', [
        'sid=1; Path=/; Domain=example.com; HttpOnly; Max-Age=5',
        'deep=2; path=/a/b; SameSite=None; Secure',
        `own=3; Path=${path}/x`,
        'bulkhead_port_token=stolen; Path=/',
        '__Host-x=4; Path=/; Secure',
        '__Secure-x=5; Secure',
        'noname',
      ]);
      response.setHeader('service-worker-allowed', '/');
      response.setHeader('clear-site-data', '"*"');
      response.setHeader('strict-transport-security', 'max-age=1');
      response.setHeader('www-authenticate', 'Basic realm="your password"');
      response.setHeader('x-content-type-options', 'none');
      response.setHeader('cache-control', 'public, s-maxage=10, max-age=5');
      response.setHeader('content-security-policy', "default-src 'self'");
      response.setHeader('x-bulkhead-hint', 'trust me');
      response.end('x');
    });
    const { headers } = await ask(harness, `${path}/`, auth);
    assert.deepEqual(headers['set-cookie'], [
      `bhg_sid=1; Path=${path}/; HttpOnly; Max-Age=5`,
      `bhg_deep=2; Path=${path}/a/b; SameSite=None`,
      `bhg_own=3; Path=${path}/x`,
    ]);
    for (const name of [
      'service-worker-allowed',
      'clear-site-data',
      'strict-transport-security',
      'www-authenticate',
      'x-bulkhead-hint',
    ]) {
      assert.equal(headers[name], undefined, name);
    }
    assert.equal(headers['x-content-type-options'], 'nosniff');
    assert.equal(headers['cache-control'], 'private, max-age=5');
    assert.match(
      String(headers['content-security-policy']),
      /^default-src 'self', sandbox allow-scripts(?!.*allow-same-origin)/,
    );
  });

  test('leads to places below its own', async (context) => {
    const harness = await openPortHarness(context);
    const { path, auth } = expose(harness);
    harness.serve((request, response) => response.writeHead(302, { location: String(request.headers['x-to']) }).end());
    const leads: Record<string, string> = {
      '/login': `${path}/login`,
      [`${path}/login`]: `${path}/login`,
      [`http://localhost:${guestPort}/a?b`]: `${path}/a?b`,
      [`http://127.0.0.1:${guestPort}`]: `${path}/`,
      'relative/x': 'relative/x',
      'https://example.com/': 'https://example.com/',
    };
    for (const [to, expected] of Object.entries(leads)) {
      const { headers } = await ask(harness, `${path}/`, { ...auth, 'x-to': to });
      assert.equal(headers.location, expected);
    }
  });
});

describe('a WebSocket to a port', () => {
  const upgrade = (path: string, headers: string): string =>
    `GET ${path}/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n${headers}\r\n`;

  test('is opened, carries bytes both ways, and ends on both sides', async (context) => {
    const harness = await openPortHarness(context);
    const { path, token } = expose(harness);
    const guest = harness.serve((_request, response) => response.end());
    guest.on('upgrade', (request, socket) => {
      const { connection, upgrade: protocol, authorization } = request.headers;
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: abc\r\nX-Other: 1\r\n\r\nearly:${connection}:${protocol}:${authorization};`,
      );
      socket.pipe(socket);
    });
    const socket = connect(harness.port, '127.0.0.1');
    socket.write(`${upgrade(path, `X-Bulkhead-Port-Token: ${token}\r\nAuthorization: Bearer x\r\n`)}after`);
    let received = '';
    socket.on('data', (bytes: Buffer) => (received += bytes.toString()));
    await until(() => received.endsWith('after'), 'the echo');
    assert.match(
      received,
      /^HTTP\/1\.1 101 .*\r\nsec-websocket-accept: abc\r\n\r\nearly:Upgrade:websocket:undefined;after$/is,
    );
    assert.doesNotMatch(received, /x-other/i);
    socket.end();
    await once(socket, 'close');
    await until(() => harness.machine().guest.connections.count === 0, 'the connection is closed');
  });

  test('is refused without a token, from a page of another origin, and when it is something else', async (context) => {
    const harness = await openPortHarness(context);
    const { path, token } = expose(harness);
    harness.serve((_request, response) => response.writeHead(404).end('no socket here'));
    assert.match(await sendRaw(harness, upgrade(path, '')), /^HTTP\/1\.1 401 /);
    const foreign = `Cookie: bulkhead_port_token=${token}\r\nOrigin: https://evil.example\r\n`;
    assert.match(await sendRaw(harness, upgrade(path, foreign)), /^HTTP\/1\.1 403 /);
    const own = `X-Bulkhead-Port-Token: ${token}\r\n`;
    assert.match(await sendRaw(harness, upgrade(path, own).replace(': websocket', ': h2c')), /^HTTP\/1\.1 400 /);
    assert.match(await sendRaw(harness, upgrade(path, own)), /^HTTP\/1\.1 404 .*no socket here/s);
    assert.equal(harness.machine().guest.connections.count, 0);
  });

  test('is closed when nothing moves for too long, and when the server stops', async (context) => {
    const harness = await openPortHarness(context);
    const { path, token } = expose(harness, 80_000);
    const guest = harness.serve((_request, response) => response.end());
    guest.on('upgrade', (_request, socket) => {
      socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n');
    });
    const open = async (): Promise<{ readonly closed: Promise<unknown> }> => {
      const socket = connect(harness.port, '127.0.0.1');
      socket.on('error', () => undefined);
      socket.write(upgrade(path, `X-Bulkhead-Port-Token: ${token}\r\n`));
      await once(socket, 'data');
      return { closed: once(socket, 'close') };
    };
    const idle = await open();
    await harness.clock.advance(2 * limits.portIdleMs);
    await idle.closed;
    await until(() => harness.machine().guest.connections.count === 0, 'the idle connection is closed');
    const other = await open();
    harness.stopping.abort();
    await other.closed;
    await until(() => harness.machine().guest.connections.count === 0, 'it is closed');
    assert.equal((await ask(harness, `${path}/`, { 'x-bulkhead-port-token': token })).status, 503);
  });
});

describe('a session with ports', () => {
  test('is woken by a request with the token, and by no other', async (context) => {
    const harness = await openEcho(context);
    const { servers } = harness.machine().guest.connections;
    await harness.sessions.suspendSession(harness.tenant, harness.session.id);
    assert.equal((await ask(harness, `${harness.path}/`)).status, 401);
    assert.equal(harness.session.record.state, 'suspended');
    // What listens does so again when the machine is back; the fake one has forgotten it.
    const answers = Array.from({ length: 5 }, () => ask(harness, `${harness.path}/`, harness.auth));
    await Promise.race(answers);
    assert.equal(harness.session.record.state, 'ready');
    for (const { status } of await Promise.all(answers)) assert.equal(status, 502);
    for (const [port, serve] of servers) harness.machine().guest.connections.servers.set(port, serve);
    assert.equal((await ask(harness, `${harness.path}/`, harness.auth)).status, 200);
  });

  test('has so many connections, then says so, and takes a turn all the same', async (context) => {
    const harness = await openPortHarness(context);
    const { path, auth } = expose(harness);
    harness.serve((_request, response) => response.write('and so on'));
    const open = await Promise.all(
      Array.from({ length: limits.portConnectionsMaxCount }, () =>
        startRequest(harness, { path: `${path}/`, headers: auth }),
      ),
    );
    const refused = await ask(harness, `${path}/`, auth);
    assert.equal(refused.status, 503);
    assert.equal(JSON.parse(refused.body).code, 'too_many_connections');
    assert.equal(refused.headers['retry-after'], '1');
    const { status } = await harness.session.startTurn({ code: 'print(1)' }).result;
    assert.equal(status, 'ok');
    for (const answer of open) answer.destroy();
    await until(() => harness.machine().guest.connections.count === 0, 'all are closed');
    const again = await startRequest(harness, { path: `${path}/`, headers: auth });
    assert.equal(again.statusCode, 200);
    again.destroy();
  });

  test('has so many ports, of its own tenant', async (context) => {
    const harness = await openPortHarness(context);
    const { tenant, session, ports } = harness;
    for (let count = 0; count < limits.portsMaxCount; count += 1) ports.expose(tenant, session.id, { port: 80 });
    assert.throws(() => ports.expose(tenant, session.id, { port: 80 }), { code: 'limit_exceeded' });
    const other = makeId('tenant');
    assert.throws(() => ports.expose(other, session.id, { port: 80 }), { code: 'not_found' });
    assert.throws(() => ports.list(other, session.id), { code: 'not_found' });
    const [first] = ports.list(tenant, session.id);
    assert.ok(first);
    assert.throws(() => ports.close(other, session.id, first.id), { code: 'not_found' });
    assert.throws(() => ports.close(tenant, makeId('session'), first.id), { code: 'not_found' });
    assert.equal(JSON.stringify(ports.list(tenant, session.id)).includes('bhp_'), false);
    for (const port of [0, 65_536, 1.5]) {
      assert.throws(() => ports.expose(tenant, session.id, { port }), { code: 'invalid_request' });
    }
  });
});

describe('ports on hosts of their own', () => {
  test('each: the whole host is the guest’s, with its own cookies and paths, and no sandbox', async (context) => {
    const harness = await openEcho(context, 'https://{port}.ports.example.net:8443');
    const host = `${harness.id.replace('_', '-')}.ports.example.net:8443`;
    const cookie = 'sid=1; bulkhead_port_token=x; csrf=2';
    const answer = await ask(harness, '/p/deep?q', { host, cookie, ...harness.auth });
    const echo: Echo = JSON.parse(answer.body);
    assert.deepEqual([echo.url, echo.headers.cookie], ['/p/deep?q', 'sid=1; csrf=2']);
    assert.equal(echo.headers['x-forwarded-proto'], 'https');
    assert.equal(echo.headers['x-forwarded-prefix'], undefined);
    assert.equal(answer.headers['content-security-policy'], undefined);
    const login = await ask(harness, `/?bulkhead_token=${harness.token}`, { host });
    assert.match(String(login.headers['set-cookie']), /; Path=\/; Max-Age=60; HttpOnly; SameSite=Strict; Secure$/);
    assert.equal((await ask(harness, `//evil.example/?bulkhead_token=${harness.token}`, { host })).status, 400);
    // Another host is not for ports, a path of the API's host neither.
    assert.equal((await ask(harness, '/', { host: 'api.ports.example.net:8443', ...harness.auth })).status, 418);
    assert.equal((await ask(harness, `${harness.path}/`, { host: 'api.example.net', ...harness.auth })).status, 418);
    const other = `prt-${'0'.repeat(26)}.ports.example.net:8443`;
    assert.equal((await ask(harness, '/', { host: other, ...harness.auth })).status, 401);
  });

  test('shared: below a path of that host, which answers for nothing else', async (context) => {
    const harness = await openEcho(context, 'http://ports.example.net');
    const host = 'ports.example.net';
    const answer = await ask(harness, `${harness.path}/x`, { host, ...harness.auth });
    assert.equal((JSON.parse(answer.body) as Echo).url, '/x');
    assert.equal(answer.headers['content-security-policy'], undefined);
    assert.equal((await ask(harness, '/v1/sessions', { host })).status, 404);
    assert.equal((await ask(harness, `${harness.path}/x`, { host: 'api.example.net', ...harness.auth })).status, 418);
  });
});
