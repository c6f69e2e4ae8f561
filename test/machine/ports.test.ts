// Servers in a session, reached from outside through the listener of the API; and terminals.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { SessionId } from '@bulkhead/protocol';
import { loadConfig } from '@bulkhead/server';
import { WebSocket } from 'ws';
import { type Key, type TestService, expectStatus, startService } from '../../packages/server/test/api/harness.ts';
import { eventually } from './support.ts';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

let service: TestService;
let session: SessionId;
let alice: Key;

before(async () => {
  const { cacheDir } = loadConfig();
  service = await startService({ environment: { BULKHEAD_RUNTIME: 'qemu', BULKHEAD_CACHE_DIR: cacheDir } });
  await service.server.ready;
  alice = await service.makeKey(await service.makeTenant('ports'), { role: 'developer', subject: 'alice' });
  session = expectStatus(await ask('POST', '/v1/sessions', {}), 201).id;
  await run(`
import os, subprocess
open('server.py', 'w').write(${JSON.stringify(server)})
open('echo.py', 'w').write(${JSON.stringify(echo)})
with open('big', 'wb') as file:
    for _ in range(50): file.write(os.urandom(1_000_000))
with open('warm', 'wb') as file: file.write(bytes(10_000_000))
for command in (['-m', 'http.server', '8000', '--bind', '127.0.0.1'], ['server.py'], ['echo.py']):
    subprocess.Popen(['python3', *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
`);
});

after(() => service[Symbol.asyncDispose]());

/** On IPv6 alone: says the digest of what it is sent, or what it was asked. */
const server = `
import hashlib, http.server, json, socket
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def answer(self, body):
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.send_header('Set-Cookie', 'sid=1; Path=/; Domain=example.com')
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.answer(json.dumps([self.path, dict(self.headers)]).encode())
    def do_POST(self):
        left, digest = int(self.headers['Content-Length']), hashlib.sha256()
        while left:
            data = self.rfile.read(min(left, 65536))
            digest.update(data)
            left -= len(data)
        self.answer(digest.hexdigest().encode())
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
Server(('::1', 8001), Handler).serve_forever()
`;

/** A WebSocket that sends back what it is sent. */
const echo = `
import base64, hashlib, socketserver, struct
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        key = None
        while (line := self.rfile.readline().strip()):
            name, _, value = line.partition(b':')
            if name.lower() == b'sec-websocket-key': key = value.strip()
        accept = base64.b64encode(hashlib.sha1(key + b'258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest())
        self.wfile.write(b'HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\nSec-WebSocket-Accept: ' + accept + b'\\r\\n\\r\\n')
        while len(head := self.rfile.read(2)) == 2:
            kind, length = head[0] & 15, head[1] & 127
            if length == 126: length = struct.unpack('>H', self.rfile.read(2))[0]
            elif length == 127: length = struct.unpack('>Q', self.rfile.read(8))[0]
            mask, data = self.rfile.read(4), self.rfile.read(length)
            data = (int.from_bytes(data, 'little') ^ int.from_bytes((mask * (length // 4 + 1))[:length], 'little')).to_bytes(length, 'little')
            size = bytes([length]) if length < 126 else b'\\x7e' + struct.pack('>H', length) if length < 65536 else b'\\x7f' + struct.pack('>Q', length)
            self.wfile.write(bytes([head[0]]) + size + data)
            if kind == 8: return
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
Server(('127.0.0.1', 8002), Handler).serve_forever()
`;

function ask(method: string, path: string, body?: unknown, key: Key = alice): ReturnType<TestService['call']> {
  return service.call(method, path, { key: key.secret, ...(body === undefined ? {} : { body }) });
}

async function run(code: string): Promise<string> {
  const result = expectStatus(await ask('POST', `/v1/sessions/${session}/turns`, { code }), 201);
  assert.equal(result.result.status, 'ok', JSON.stringify(result));
  return String(result.result.stdout).trimEnd();
}

async function state(): Promise<string> {
  return expectStatus(await ask('GET', `/v1/sessions/${session}`), 200).state;
}

interface Exposed {
  readonly id: string;
  readonly path: string;
  readonly headers: { readonly 'x-bulkhead-port-token': string };
}

async function expose(port: number, expiresInSeconds = 600): Promise<Exposed> {
  const exposed = expectStatus(await ask('POST', `/v1/sessions/${session}/ports`, { port, expiresInSeconds }), 201);
  return { id: exposed.id, path: exposed.path, headers: { 'x-bulkhead-port-token': exposed.token } };
}

/** Where WebSockets are. */
function socketUrl(path: string): string {
  return service.url.replace(/^http/, 'ws') + path;
}

const get = ({ path, headers }: Exposed, below = ''): Promise<Response> =>
  fetch(service.url + path + below, { headers });

async function codeOf(answer: Response): Promise<string> {
  return ((await answer.json()) as { code: string }).code;
}

/** Whether `sleep` runs in the session. */
async function sleeps(): Promise<boolean> {
  return (
    (await run('import subprocess; print(subprocess.run(["pgrep", "-x", "sleep"], stdout=-3).returncode)')) === '0'
  );
}

/** A server needs a moment from its start until it listens. */
async function listening(port: number): Promise<Exposed> {
  const exposed = await expose(port);
  await eventually(`port ${port} answers`, async () => (await get(exposed)).status !== 502, 120_000);
  return exposed;
}

/** In bytes, of client and server, without what nobody holds any more. */
function memoryInUse(): number {
  collectGarbage();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

test('files of a session are served by python -m http.server; 50 MB with flat memory', async (context) => {
  const port = await listening(8000);
  assert.match(await (await get(port)).text(), /href="big"/);
  const digest = await run(`import hashlib; print(hashlib.sha256(open('big', 'rb').read()).hexdigest())`);
  const download = async (file: string): Promise<{ readonly most: number; readonly digest: string }> => {
    const hash = createHash('sha256');
    let [most, received] = [0, 0];
    const { body } = await get(port, file);
    assert.ok(body);
    for await (const bytes of body) {
      hash.update(bytes);
      if (Math.floor(received / 5_000_000) !== Math.floor((received + bytes.length) / 5_000_000)) {
        most = Math.max(most, memoryInUse());
      }
      received += bytes.length;
    }
    return { most, digest: hash.digest('hex') };
  };
  await download('warm');
  const inUseBefore = memoryInUse();
  const start = performance.now();
  const got = await download('big');
  const growth = got.most - inUseBefore;
  const seconds = (performance.now() - start) / 1000;
  context.diagnostic(
    `50 MB down in ${seconds.toFixed(2)} s (${(50 / seconds).toFixed(0)} MB/s), client and server held ${(growth / 1_048_576).toFixed(1)} MiB more`,
  );
  assert.equal(got.digest, digest);
  // Well below the file: what comes in is not collected at once.
  assert.ok(growth < 32 * 1_048_576, `memory grew by ${growth} bytes`);
});

test('uploads arrive, over IPv6 too, and a guest is told nothing of ours', async (context) => {
  const port = await listening(8001);
  const content = randomBytes(20_000_000);
  const start = performance.now();
  const answer = await fetch(service.url + port.path, { method: 'POST', headers: port.headers, body: content });
  assert.equal(await answer.text(), createHash('sha256').update(content).digest('hex'));
  context.diagnostic(`20 MB up in ${((performance.now() - start) / 1000).toFixed(2)} s`);
  assert.match(answer.headers.get('set-cookie') ?? '', /^bhg_sid=1; Path=\/p\/prt_\w+\/$/);
  assert.match(answer.headers.get('content-security-policy') ?? '', /sandbox/);
  const seen = await fetch(`${service.url}${port.path}a?b=1`, {
    headers: { ...port.headers, authorization: `Bearer ${alice.secret}`, cookie: 'sso=secret' },
  });
  const text = await seen.text();
  assert.match(text, /"\/a\?b=1"/);
  assert.doesNotMatch(text, /Bearer|secret|bhp_/);
});

test('a WebSocket of a server in a session works as one', async () => {
  const { path, headers } = await expose(8002);
  const url = socketUrl(path);
  const open = async (): Promise<WebSocket> => {
    const socket = new WebSocket(url, { headers });
    await once(socket, 'open');
    return socket;
  };
  let socket: WebSocket | undefined;
  await eventually('it can be opened', async () => {
    socket = await open().catch(() => undefined);
    return socket !== undefined;
  });
  assert.ok(socket);
  for (const content of [Buffer.from('hello'), randomBytes(1000), randomBytes(200_000)]) {
    socket.send(content);
    const [back] = await once(socket, 'message');
    assert.ok(content.equals(back as Buffer));
  }
  socket.close();
  await once(socket, 'close');
  const refused = new WebSocket(url);
  const [, response] = await once(refused, 'unexpected-response');
  assert.equal(response.statusCode, 401);
  refused.on('error', () => undefined);
  refused.terminate();
});

test('a token ends with its time and its port, and is another tenant’s no more than nobody’s', async () => {
  const port = await listening(8000);
  const other = await expose(8001);
  const wrong = await get({ ...port, headers: other.headers });
  assert.deepEqual([wrong.status, await codeOf(wrong)], [401, 'unauthenticated']);
  const mallory = await service.makeKey(await service.makeTenant('other'), { role: 'admin', subject: 'alice' });
  assert.equal((await ask('GET', `/v1/sessions/${session}/ports`, undefined, mallory)).status, 404);
  assert.equal((await ask('DELETE', `/v1/sessions/${session}/ports/${port.id}`, undefined, mallory)).status, 404);
  assert.equal((await get(port)).status, 200);
  assert.equal((await ask('DELETE', `/v1/sessions/${session}/ports/${port.id}`)).status, 204);
  assert.equal((await get(port)).status, 401);
  const short = await expose(8000, 1);
  // A request that is under way when it expires is cut off.
  await eventually('it expires', async () => (await get(short).catch(() => undefined))?.status === 401);
  const closed = await get(await expose(9));
  assert.deepEqual([closed.status, await codeOf(closed)], [502, 'port_unreachable']);
});

test('a request wakes a session that sleeps, whose server goes on; connections do not keep it from sleeping', async () => {
  const port = await listening(8000);
  const echoPort = await expose(8002);
  const held = new WebSocket(socketUrl(echoPort.path), { headers: echoPort.headers });
  await once(held, 'open');
  const gone = once(held, 'close');
  expectStatus(await ask('POST', `/v1/sessions/${session}/suspend`), 200);
  await gone;
  assert.equal(await state(), 'suspended');
  assert.equal((await fetch(service.url + port.path)).status, 401);
  assert.equal(await state(), 'suspended');
  const answers = await Promise.all([get(port), get(port), get(port)]);
  assert.deepEqual(
    answers.map(({ status }) => status),
    [200, 200, 200],
  );
  assert.equal(await state(), 'ready');
});

test('32 connections at once leave room for turns', async () => {
  const { path, headers } = await expose(8002);
  const sockets = Array.from({ length: 32 }, () => new WebSocket(socketUrl(path), { headers }));
  await Promise.all(sockets.map((socket) => once(socket, 'open')));
  const refused = await get({ id: '', path, headers });
  assert.deepEqual([refused.status, await codeOf(refused)], [503, 'too_many_connections']);
  assert.equal(await run('print(6 * 7)'), '42');
  for (const socket of sockets) socket.terminate();
  await eventually('there is room again', async () => {
    const socket = new WebSocket(socketUrl(path), { headers });
    socket.on('error', () => undefined);
    const opened = await Promise.race([
      once(socket, 'open').then(() => true),
      once(socket, 'unexpected-response').then(() => false),
    ]);
    socket.terminate();
    return opened;
  });
});

test('a terminal has its size, is resized, interrupted by Ctrl-C, and ends with its client', async () => {
  const open = async (query: string): Promise<{ socket: WebSocket; text: () => string; texts: string[] }> => {
    const socket = new WebSocket(socketUrl(`/v1/sessions/${session}/terminal?${query}`), ['bulkhead.terminal.v1'], {
      headers: { authorization: `Bearer ${alice.secret}` },
    });
    let printed = '';
    const texts: string[] = [];
    socket.on('message', (data: Buffer, isBinary) => {
      if (isBinary) printed += data.toString();
      else texts.push(data.toString());
    });
    await once(socket, 'open');
    return { socket, text: () => printed, texts };
  };
  const { socket, text, texts } = await open('columns=101&rows=31');
  const type = (keys: string): void => socket.send(Buffer.from(keys));
  type('stty size; echo "whoami: $(whoami)"\r');
  await eventually('its size', () => /^31 101\r$/m.test(text()) && /^whoami: user\r$/m.test(text()), 20_000);
  socket.send(JSON.stringify({ type: 'resize', columns: 77, rows: 22 }));
  await eventually('the new size', async () => {
    type('stty size\r');
    await new Promise((resolve) => setTimeout(resolve, 100));
    return /^22 77\r$/m.test(text());
  });
  type('sleep 1000; echo after:$?\r');
  await eventually('it runs', () => sleeps());
  type('\u0003');
  type('echo left:$((40+2))\r');
  await eventually('it is interrupted', () => /^left:42\r$/m.test(text()));
  type('sleep 2000\r');
  await eventually('it runs', () => sleeps());
  socket.send(JSON.stringify({ type: 'interrupt' }));
  type('exit 7\r');
  await once(socket, 'close');
  assert.deepEqual(
    texts.map((each) => JSON.parse(each)),
    [{ type: 'exit', exitCode: 7, signal: null }],
  );
  const second = await open('command=echo%20here%3B%20sleep%203000');
  await eventually('it runs', () => second.text().includes('here'));
  second.socket.terminate();
  await eventually('what ran in it is ended', async () => !(await sleeps()));
});
