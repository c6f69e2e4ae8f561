// What a client sends that it should not: each is answered with a typed problem, quickly, and leaves no trace.

import assert from 'node:assert/strict';
import { type Socket, connect } from 'node:net';
import { after, before, test } from 'node:test';
import { errorCatalogue, limits, makeId, problemSchema } from '@bulkhead/protocol';
import { type Answer, type Key, type TestService, expectStatus, startService, until } from './harness.ts';

let service: TestService;
let key: Key;
let session: string;

before(async () => {
  service = await startService();
  key = await service.makeKey(await service.makeTenant('bad-input'), { role: 'admin' });
  session = expectStatus(await call('POST', '/v1/sessions', {}), 201).id;
});
after(() => service[Symbol.asyncDispose]());

async function call(
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Answer> {
  return await service.call(method, path, { key: key.secret, body, headers });
}

/** It is a problem of the catalogue, whole, and says nothing of how the server is made. */
function expectProblem(answer: Answer, code: keyof typeof errorCatalogue, what: string): void {
  assert.equal(
    answer.headers.get('content-type'),
    'application/problem+json; charset=utf-8',
    `${what}: ${answer.text}`,
  );
  const problem = problemSchema.parse(answer.json);
  assert.equal(problem.code, code, `${what}: ${answer.text}`);
  assert.equal(answer.status, errorCatalogue[code].status, what);
  assert.equal(problem.status, answer.status, what);
  assert.equal(problem.requestId, answer.headers.get('x-request-id'), what);
  assert.doesNotMatch(answer.text, /node_modules|\.ts:\d|at async|[A-Z]\w*Error\b|[Pp]ostgres/, what);
}

const json = { 'content-type': 'application/json' };

test('JSON that could be understood in two ways is refused', async () => {
  const turns = `/v1/sessions/${session}/turns`;
  const cases: Readonly<Record<string, string | Uint8Array>> = {
    'not JSON': '{"code": ',
    'not JSON either': "{'code': 1}",
    'a comma too many': '{"code":"1",}',
    'two values': '{"code":"1"}{"code":"2"}',
    nothing: ' ',
    'a name twice': '{"code":"1","code":"2"}',
    'a name twice, escaped': String.raw`{"code":"1","cod\u0065":"2"}`,
    'a name twice, further in': '{"labels":{"a":"1","a":"2"}}',
    'the prototype': '{"__proto__":{"code":"1"},"code":"1"}',
    'the prototype, escaped': String.raw`{"\u005f_proto__":{},"code":"1"}`,
    'too deep': `{"code":${'['.repeat(40)}${']'.repeat(40)}}`,
    'far too deep': '['.repeat(100_000),
    'too many values': `{"code":[${'0,'.repeat(20_000)}0]}`,
    'half a surrogate pair': String.raw`{"code":"\ud800"}`,
    'no UTF-8': Uint8Array.from([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x3a, 0x31, 0x7d]),
    'a string that does not end': '{"code":"1',
    'an escape that is none': String.raw`{"code\x":"1"}`,
    'an array': '[]',
    null: 'null',
    'a number': '1e400',
  };
  for (const [what, body] of Object.entries(cases)) {
    expectProblem(await call('POST', turns, body, json), 'invalid_request', what);
  }
  const kept = expectStatus(await call('GET', `/v1/sessions/${session}`), 200);
  assert.equal(kept.turnCount, 0, 'no turn was begun');
});

test('what the schema does not have is refused: fields, types, values', async () => {
  const turns = `/v1/sessions/${session}/turns`;
  const bodies: readonly (readonly [string, unknown])[] = [
    [turns, {}],
    [turns, { code: 1 }],
    [turns, { code: '1', more: true }],
    [turns, { code: '1', language: 'cobol' }],
    [turns, { code: '1', timeoutMs: '1000' }],
    [turns, { code: '1', timeoutMs: 0 }],
    [turns, { code: '1', timeoutMs: 1.5 }],
    [turns, { code: '1', timeoutMs: -1 }],
    [turns, { code: '1', context: '../x' }],
    [turns, { code: '1', wait: 'for ever' }],
    ['/v1/sessions', { size: 'huge' }],
    ['/v1/sessions', { labels: { 'Not A Key': 'x' } }],
    ['/v1/sessions', { labels: { a: 1 } }],
    ['/v1/sessions', { labels: Object.fromEntries(Array.from({ length: 33 }, (_, index) => [`k${index}`, 'v'])) }],
    ['/v1/sessions', { labels: { a: 'x'.repeat(257) } }],
    ['/v1/sessions', { timeLimits: { idleMs: 1 } }],
    ['/v1/sessions', { runtime: '__proto__' }],
    [`/v1/sessions/${session}/fork`, { count: 0 }],
    [`/v1/sessions/${session}/fork`, { count: 101 }],
    [`/v1/sessions/${session}/checkpoints`, { name: '../../etc' }],
    [`/v1/sessions/${session}/commands`, { argv: [] }],
    [`/v1/sessions/${session}/commands`, { argv: ['a\0b'] }],
    [`/v1/sessions/${session}/commands`, { argv: ['a'], env: { 'A=B': 'x' } }],
    [`/v1/sessions/${session}/commands`, { argv: ['a'], stdin: '***', stdinEncoding: 'base64' }],
    [`/v1/sessions/${session}/ports`, { port: 0 }],
    [`/v1/sessions/${session}/ports`, { port: 65_536 }],
    [`/v1/tenants/${key.tenant}/keys`, { name: 'x', role: 'god' }],
    [`/v1/tenants/${key.tenant}/keys`, { name: 'x' }],
    [`/v1/tenants/${key.tenant}/keys`, { name: 'x', role: 'viewer', scopes: [] }],
    [`/v1/tenants/${key.tenant}/keys`, { name: 'x', role: 'viewer', subject: 'with space' }],
  ];
  for (const [path, body] of bodies) {
    expectProblem(await call('POST', path, body), 'invalid_request', `${path} ${JSON.stringify(body).slice(0, 80)}`);
  }
});

test('a query is read in one way', async () => {
  const queries = [
    'limit=1e3',
    'limit=0x1',
    'limit=+5',
    'limit=%205',
    'limit=5%20',
    'limit=',
    'limit=05',
    'limit=5.0',
    'limit=-1',
    'limit=0',
    'limit=201',
    'limit=99999999999999999999',
    'limit=5&limit=5',
    'limit[]=5',
    'ended=1',
    'ended=TRUE',
    'ended=',
    'ended',
    'state=gone',
    'unknown=1',
    'cursor=',
    'cursor=%00',
    'cursor=../x',
    'cursor=AAAA',
    `cursor=${'a'.repeat(513)}`,
    'labelValue=x',
    'labelKey=UPPER',
    'limit=%zz',
    'limit=%c0%af',
    '__proto__=1',
    'constructor=1',
    'limit=5&'.repeat(100),
  ];
  for (const query of queries) expectProblem(await call('GET', `/v1/sessions?${query}`), 'invalid_request', query);
  expectStatus(await call('GET', '/v1/sessions?limit=5&ended=true&state=ready'), 200);
});

test('ids of another kind, or of none, are no ids', async () => {
  for (const id of [
    makeId('turn'),
    session.toUpperCase(),
    `${session}x`,
    session.slice(0, -1),
    'ses_',
    '..',
    '%2e%2e',
    '%00',
    '*',
    "'%20OR%201=1",
  ]) {
    const answer = await call('GET', `/v1/sessions/${id}/turns`);
    assert.ok([400, 404].includes(answer.status), `${id}: ${answer.status}`);
    problemSchema.parse(answer.json);
  }
  expectProblem(
    await call('GET', `/v1/sessions/${session}/turns/${session}`),
    'invalid_request',
    'a session for a turn',
  );
  expectProblem(await call('GET', `/v1/sessions/${'a'.repeat(5000)}`), 'invalid_request', 'a very long id');
});

test('a path names what is in the guest, and nothing else', async () => {
  const content = (path: string): string => `/v1/sessions/${session}/files/content?path=${path}`;
  for (const path of ['', '%00', 'a%00b', 'a'.repeat(4097), '%c0%ae%c0%ae%2f', '%ff', '%ed%a0%80']) {
    expectProblem(await call('GET', content(path)), 'invalid_request', path.slice(0, 40));
  }
  // The guest's own paths, whatever they look like: the host never resolves them.
  for (const path of [
    '../../../../etc/passwd',
    '..%2f..%2fetc%2fpasswd',
    '%2fetc%2fpasswd',
    '..%5c..%5cwindows',
    '%ef%bc%8e%ef%bc%8e%2fetc',
    'file:///etc/passwd',
  ]) {
    expectProblem(await call('GET', content(path)), 'file_error', path);
  }
  // As they are, without what a client makes of them first.
  for (const path of [
    '/v1/../v1/sessions',
    '/v1/sessions/../tenants',
    '/v1/sessions/%2e%2e/tenants',
    '/v1//sessions',
    '/v1/sessions/',
    '/V1/sessions',
    '/v1/sessions;x=1',
    '/v1/sessions/%00',
    '/v1/sessions/%',
    'http://elsewhere/v1/nothing',
  ]) {
    const answer = await raw(
      `GET ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${key.secret}\r\nConnection: close\r\n\r\n`,
    );
    assert.match(answer, /^HTTP\/1\.1 40[04] /, path);
    problemSchema.parse(JSON.parse(answer.split('\r\n\r\n')[1] ?? ''));
  }
});

test('methods, types and sizes that a route does not take', async () => {
  const wrongMethod = await call('PUT', `/v1/sessions/${session}`, {});
  expectProblem(wrongMethod, 'method_not_allowed', 'PUT');
  assert.equal(wrongMethod.headers.get('allow'), 'DELETE, GET, PATCH');
  expectProblem(await call('OPTIONS', '/v1/sessions'), 'method_not_allowed', 'OPTIONS without CORS');
  assert.equal((await call('HEAD', '/v1/sessions')).status, 405);
  expectProblem(await call('GET', '/v1/nothing'), 'not_found', 'no route');
  for (const type of [
    'text/plain',
    'application/xml',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'application/jsonp',
    'nonsense',
    'application/json-patch+json',
  ]) {
    expectProblem(await call('POST', '/v1/sessions', '{}', { 'content-type': type }), 'unsupported_media_type', type);
  }
  expectProblem(await call('POST', '/v1/sessions', undefined), 'invalid_request', 'no body');
  expectProblem(
    await call('POST', `/v1/sessions/${session}/suspend`, {}),
    'invalid_request',
    'a body where none is taken',
  );
  const large = Buffer.alloc(limits.bodyMaxBytes + 1, 0x20);
  expectProblem(await call('POST', '/v1/sessions', large, json), 'limit_exceeded', 'a body over the limit');
});

test('headers that say what they may not', async () => {
  for (const id of ['"x"', 'a b', '../x', 'x'.repeat(65), '<script>', '-x']) {
    const answer = await call('GET', '/v1/caller', undefined, { 'x-request-id': id });
    assert.match(answer.headers.get('x-request-id') ?? '', /^req_/, id);
  }
  assert.equal(
    (await call('GET', '/v1/caller', undefined, { 'x-request-id': 'mine-1.2_3' })).headers.get('x-request-id'),
    'mine-1.2_3',
  );
  for (const version of ['9', 'W/"2"', '"x"', '"2', '""', '"2", "3"']) {
    const answer = await call('PATCH', `/v1/sessions/${session}`, { labels: {} }, { 'if-match': version });
    expectProblem(answer, 'precondition_failed', version);
  }
  for (const idempotencyKey of ['a b', 'x'.repeat(256), 'ü']) {
    const answer = await call('POST', '/v1/sessions', {}, { 'idempotency-key': idempotencyKey });
    expectProblem(answer, 'invalid_request', idempotencyKey.slice(0, 10));
  }
  for (const authorization of [
    '',
    'Bearer',
    'Bearer ',
    `Bearer ${key.secret} `,
    `Bearer  ${key.secret}x`,
    `Basic ${key.secret}`,
    key.secret,
    `Bearer ${'a'.repeat(10_000)}`,
    'Bearer eyJhbGciOiJub25lIn0.e30.',
  ]) {
    const answer = await service.call('GET', '/v1/caller', { headers: { authorization } });
    if (authorization.trim() !== `Bearer ${key.secret}`)
      expectProblem(answer, 'unauthenticated', authorization.slice(0, 30));
  }
});

/** Sends bytes as they are, and answers with all that comes until the connection ends. */
async function raw(bytes: string | Buffer, { end = false, deadlineMs = 20_000 } = {}): Promise<string> {
  const { hostname, port } = new URL(service.url);
  const socket = connect(Number(port), hostname);
  let received = '';
  socket.setEncoding('latin1').on('data', (text: string) => (received += text));
  socket.on('error', () => undefined);
  const closed = new Promise<void>((resolve) => void socket.once('close', () => resolve()));
  socket.write(bytes);
  if (end) socket.end();
  const timer = setTimeout(() => socket.destroy(new Error('late')), deadlineMs);
  await closed;
  clearTimeout(timer);
  return received;
}

test('what is no HTTP is answered as a problem, and the connection ends', async () => {
  const cases: readonly (readonly [string, string])[] = [
    ['hello\r\n\r\n', '400'],
    ['GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n', '400'],
    ['GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n', '400'],
    ['GET / HTTP/1.1\r\nHost: x\r\nBad Header: 1\r\n\r\n', '400'],
    [`GET / HTTP/1.1\r\nHost: x\r\nX: ${'a'.repeat(40_000)}\r\n\r\n`, '413'],
    [
      'POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      '400',
    ],
    ['POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello', '400'],
    ['POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n', '400'],
  ];
  for (const [bytes, status] of cases) {
    const answer = await raw(bytes);
    assert.match(answer, new RegExp(`^HTTP/1\\.1 ${status} `), bytes.slice(0, 60));
    const [head = '', body = ''] = answer.split('\r\n\r\n');
    if (!head.includes('problem+json')) assert.fail(`${bytes.slice(0, 60)}: ${answer}`);
    problemSchema.parse(JSON.parse(body));
  }
});

test('a client that is slow, or leaves in the middle, keeps nobody else waiting', async () => {
  const { hostname, port } = new URL(service.url);
  const head = `POST /v1/sessions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${key.secret}\r\nContent-Type: application/json\r\n`;
  const slow: Socket[] = [];
  for (let index = 0; index < 50; index += 1) {
    const socket = connect(Number(port), hostname).on('error', () => undefined);
    socket.write(index % 2 === 0 ? head : `${head}Content-Length: 1000\r\n\r\n{`);
    slow.push(socket);
  }
  const started = performance.now();
  expectStatus(await call('GET', '/v1/caller'), 200);
  assert.ok(performance.now() - started < 5000);
  for (const socket of slow) socket.destroy();
  // Half closed after a whole request: it is answered all the same.
  const whole = `GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`;
  assert.match(await raw(whole, { end: true }), /^HTTP\/1\.1 200 /);
  // Half closed within a body: there is nothing to do, and nothing is.
  const count = expectStatus(await call('GET', '/v1/sessions?limit=200&ended=true'), 200).items.length;
  await raw(`${head}Content-Length: 1000\r\n\r\n{"size":`, { end: true });
  assert.equal(expectStatus(await call('GET', '/v1/sessions?limit=200&ended=true'), 200).items.length, count);
});

test('an upload states its length, and half of one leaves nothing', async () => {
  const path = `/v1/sessions/${session}/files/content?path=half.bin`;
  const head = `PUT ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${key.secret}\r\n`;
  const chunked = await raw(`${head}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nhello\r\n0\r\n\r\n`);
  assert.match(chunked, /^HTTP\/1\.1 411 /);
  await raw(`${head}Content-Length: 1000000\r\n\r\n${'x'.repeat(1000)}`, { end: true });
  await until(
    async () => (await call('GET', `/v1/sessions/${session}/files/stat?path=half.bin`)).status === 409,
    'nothing is there',
  );
  expectStatus(await call('PUT', path, Buffer.from('whole')), 200);
  assert.equal((await call('GET', path)).text, 'whole');
});

test('nothing of what came is in the log, but who asked for which route', async () => {
  const secret = `s3cret-${makeId('request')}`;
  await call('POST', `/v1/sessions/${session}/turns`, { code: `print("${secret}")` });
  await call('GET', `/v1/sessions/${session}/files/stat?path=${secret}`);
  await call('GET', '/v1/caller', undefined, { cookie: `a=${secret}`, authorization: `Bearer ${secret}` });
  await until(() => service.lines.some((line) => line.includes('/files/stat')), 'the log has it');
  const log = service.lines.join('');
  assert.ok(log.includes(key.tenant), 'the log is what is looked at');
  for (const word of [secret, key.secret, service.admin.secret]) assert.ok(!log.includes(word), `the log has ${word}`);
});
