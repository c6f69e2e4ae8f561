// An HTTP service as a tool, against a service on loopback that records every byte that it gets.

import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { type HttpSettings, httpSettings, makeId } from '@bulkhead/protocol';
import { array, assert as assertProperty, asyncProperty, constantFrom, oneof, string } from 'fast-check';
import { parseArguments } from '../../src/authority/arguments.ts';
import { checkArguments } from '../../src/authority/parameters.ts';
import type { Resolve } from '../../src/lib/network-addresses.ts';
import { openHttpTool } from '../../src/tools/http/open-http-tool.ts';
import type { ToolResult } from '../../src/tools/tool.ts';
import { type Answer, type Recorder, answerJson, openRecorder } from './recorder.ts';

const canary = 'canary/of+a credential';
let recorder: Recorder;
let answer: Answer;
before(async () => {
  recorder = await openRecorder((...all) => answer(...all));
});
beforeEach(() => {
  recorder.received.length = 0;
  answer = (_, response) => answerJson(response, { ok: true });
});
after(() => recorder[Symbol.asyncDispose]());

const loopback = ['127.0.0.0/8'];
const operations = {
  price: {
    description: 'a price',
    method: 'GET',
    path: '/v1/prices/{symbol}',
    parameters: {
      symbol: { kind: 'name', description: 'which', in: 'path' },
      note: { kind: 'text', description: 'anything', in: 'query', as: 'Note[x]', optional: true },
      trace: { kind: 'name', description: 'for the log', in: 'header', as: 'X-Trace', optional: true },
    },
  },
  order: {
    description: 'an order',
    method: 'POST',
    path: '/v1/orders',
    parameters: {
      count: { kind: 'integer', description: 'how many', in: 'field' },
      note: { kind: 'text', description: 'anything', in: 'field', as: '__proto__', optional: true },
    },
  },
} as const;

function settings(change: Record<string, unknown> = {}): HttpSettings {
  const { origin } = recorder;
  return httpSettings.parse({ kind: 'http', description: 'x', origin, operations, addresses: loopback, ...change });
}

async function call(
  given: HttpSettings,
  operation: string,
  args: Record<string, unknown>,
  { resolve, signal = new AbortController().signal }: { resolve?: Resolve; signal?: AbortSignal } = {},
): Promise<ToolResult> {
  await using tool = await openHttpTool('market', given, { secret: () => Promise.resolve(canary), resolve });
  const description = tool.description.operations[operation] ?? assert.fail('there is such an operation');
  const checked = checkArguments(description.parameters, parseArguments(Buffer.from(JSON.stringify(args))));
  const context = { tenant: makeId('tenant'), session: makeId('session'), subject: 'ada', signal };
  return await tool.call(operation, checked, context);
}

async function valueOf(result: Promise<ToolResult>): Promise<unknown> {
  const found = await result;
  assert.equal(found.kind, 'value');
  return found.kind === 'value' ? found.value : undefined;
}

async function bytesOf(result: ToolResult): Promise<Buffer> {
  assert.equal(result.kind, 'bytes');
  if (result.kind !== 'bytes') return Buffer.alloc(0);
  const chunks: Uint8Array[] = [];
  for await (const chunk of result.bytes) chunks.push(chunk);
  return Buffer.concat(chunks);
}

test('an operation is one request, and its answer a value', async () => {
  const result = call(settings(), 'price', { symbol: 'DAX 40@x', note: 'a&b=ü?#/', trace: 'r-1' });
  assert.deepEqual(await valueOf(result), { ok: true });
  const [line, ...headers] = recorder.last().split('\r\n');
  assert.equal(line, 'GET /v1/prices/DAX%2040%40x?Note%5Bx%5D=a%26b%3D%C3%BC%3F%23%2F HTTP/1.1');
  assert.ok(headers.includes('x-trace: r-1'));
  await call(settings(), 'order', { count: 3, note: 'x' });
  assert.match(recorder.last(), /^POST \/v1\/orders HTTP\/1\.1\r\n/);
  assert.match(recorder.last(), /\r\n\r\n\{"count":3,"__proto__":"x"\}$/);
  await using tool = await openHttpTool('market', settings(), { secret: () => Promise.resolve(canary) });
  assert.deepEqual(tool.resourceOf('price'), {
    type: 'Endpoint',
    id: `GET ${recorder.origin}/v1/prices/{symbol}`,
    within: [
      { type: 'Host', id: `127.0.0.1:${recorder.port}` },
      { type: 'Host', id: '127.0.0.1' },
    ],
  });
  assert.deepEqual(tool.description.operations['price']?.parameters['symbol'], { kind: 'name', description: 'which' });
});

test('3,000 arguments that try to be something else stay where they were put', async () => {
  const poison = constantFrom(
    ...String.raw`.. . / \ %2f %2e%2e % ? # & = ; : @ " ' HTTP/1.1 a DAX 1 //evil + ＃`.split(' '),
    ...'\r\n,\n,\r,\t, ,\0,Host: evil,\u2025,\uFF0F,\u2215,\uFF0E,\u0130,\u212A,\u010D\u010A'.split(','),
  );
  const text = array(poison, { minLength: 1, maxLength: 6 }).map((parts) => parts.join(''));
  // Names whose every sign means something somewhere.
  const signs = constantFrom('a', 'DAX', '1', '.', ':', '@', '+', '=', ',', '-', ' ', '_');
  const odd = array(signs, { minLength: 1, maxLength: 6 }).map((parts) => `x${parts.join('')}`);
  const name = oneof({ weight: 4, arbitrary: odd }, { weight: 1, arbitrary: text });
  const given = settings();
  await using tool = await openHttpTool('market', given, { secret: () => Promise.resolve(canary) });
  const { parameters } = tool.description.operations['price'] ?? assert.fail();
  let sent = 0;
  let refused = 0;
  const context = { tenant: makeId('tenant'), session: makeId('session'), subject: 'ada', signal: AbortSignal.any([]) };
  const property = asyncProperty(name, text, name, async (symbol, note, trace) => {
    recorder.received.length = 0;
    const bytes = Buffer.from(JSON.stringify({ symbol, note, trace }));
    let checked;
    try {
      checked = checkArguments(parameters, parseArguments(bytes));
    } catch {
      refused += 1;
      return;
    }
    await tool.call('price', checked, context);
    sent += 1;
    const raw = recorder.last();
    const head = raw.slice(0, raw.indexOf('\r\n\r\n'));
    const [line = '', ...headers] = head.split('\r\n');
    const [, segment = '', query = ''] =
      /^GET \/v1\/prices\/([^/?#]*)\?([^?#]*) HTTP\/1\.1$/.exec(line) ?? assert.fail(line);
    assert.match(segment, /^(?:[A-Za-z0-9._~-]|%[0-9A-F]{2})+$/);
    assert.equal(decodeURIComponent(segment), symbol);
    assert.notEqual(segment, '..');
    const [key, value, ...more] = query.split(/[=&]/);
    assert.deepEqual([decodeURIComponent(key ?? ''), decodeURIComponent(value ?? ''), more], ['Note[x]', note, []]);
    assert.deepEqual(headers.map((header) => header.slice(0, header.indexOf(':')).toLowerCase()).toSorted(), [
      'accept',
      'accept-encoding',
      'connection',
      'host',
      'user-agent',
      'x-trace',
    ]);
    assert.ok(headers.includes(`x-trace: ${trace}`));
    assert.equal(raw.length, head.length + 4, 'nothing follows the head');
    assert.equal(recorder.received.length, 1);
  });
  await assertProperty(property, { numRuns: 3000, seed: 6 });
  // Most are no names; what is a name, and any text beside it, was sent.
  assert.ok(sent > 800 && refused > 1000, `${sent} sent, ${refused} refused`);
});

test('any text in a query arrives as it was', async () => {
  const given = settings({
    operations: {
      find: {
        description: 'x',
        method: 'GET',
        path: '/f',
        parameters: { q: { kind: 'text', description: 'x', in: 'query' } },
      },
    },
  });
  const property = asyncProperty(string({ unit: 'binary', maxLength: 40 }), async (q) => {
    if (q.includes('\0')) return;
    await call(given, 'find', { q });
    const [line = ''] = recorder.last().split('\r\n');
    assert.equal(decodeURIComponent(/^GET \/f\?q=([^ &#?]*) HTTP\/1\.1$/.exec(line)?.[1] ?? assert.fail(line)), q);
  });
  await assertProperty(property, { numRuns: 300, seed: 6 });
});

test('operations that could be read in two ways are not set up', async () => {
  const path = { kind: 'name', description: 'x', in: 'path' };
  const cases: readonly [Record<string, unknown>, RegExp][] = [
    [{ path: '/a/{x}{y}', parameters: { x: path, y: path } }, /two parameters/],
    [{ path: '/a/../b' }, /leads elsewhere/],
    [{ path: '/a//b' }, /empty/],
    [{ path: '/a/{x}' }, /declared for it are none/],
    [{ path: '/a', parameters: { x: path } }, /has the parameters none/],
    [{ path: '/a/{x}', parameters: { x: { ...path, kind: 'text' } } }, /cannot be text in the path/],
    [{ path: '/a/{x}', parameters: { x: { ...path, kind: 'path' } } }, /cannot be path/],
    [{ path: '/a/{x}', parameters: { x: { ...path, optional: true } } }, /optional/],
    [{ path: '/a/{x}', parameters: { x: { ...path, values: ['../b'] } } }, /no name/],
    [
      { path: '/a', parameters: { x: { kind: 'text', description: 'x', in: 'header' } } },
      /cannot be text in the header/,
    ],
    [{ path: '/a', parameters: { x: { kind: 'name', description: 'x', in: 'header', as: 'Host' } } }, /host's own/],
    [
      { path: '/a', parameters: { x: { kind: 'name', description: 'x', in: 'header', as: 'transfer-encoding' } } },
      /host's own/,
    ],
    [
      { path: '/a', parameters: { x: { kind: 'name', description: 'x', in: 'header', as: 'a:b' } } },
      /no name of a header/,
    ],
    [{ path: '/a', parameters: { x: { kind: 'json', description: 'x', in: 'body' } } }, /GET has no body/],
    [{ path: '/a', parameters: { x: { kind: 'name', description: 'x', in: 'query', as: 'key' } } }, /host's own/],
  ];
  const open = (operation: Record<string, unknown>): Promise<unknown> =>
    openHttpTool(
      'market',
      settings({
        operations: { it: { description: 'x', method: 'GET', ...operation } },
        credential: { in: 'query', name: 'key', secret: 'key' },
      }),
      { secret: () => Promise.resolve(canary) },
    );
  for (const [operation, message] of cases) await assert.rejects(open(operation), { code: 'invalid_request', message });
  await open({ path: '/a/{x}.json', parameters: { x: path } });
  assert.throws(() => settings({ origin: 'http://user@127.0.0.1' }));
  assert.throws(() => settings({ origin: 'http://0x7f.1' }));
  assert.throws(() => settings({ operations: { it: { description: 'x', method: 'GET', path: '/a?b=c' } } }));
});

test('the credential is put in on the host, and an answer that repeats it is kept from the guest', async () => {
  const basic = Buffer.from(`ada:${canary}`).toString('base64');
  for (const [credential, expected] of [
    [{ in: 'bearer', secret: 'key' }, `authorization: Bearer ${canary}\r\n`],
    [{ in: 'header', name: 'X-Key', secret: 'key' }, `x-key: ${canary}\r\n`],
    [{ in: 'basic', user: 'ada', secret: 'key' }, `authorization: Basic ${basic}\r\n`],
    [{ in: 'query', name: 'key', secret: 'key' }, `GET /v1/prices/DAX?key=${encodeURIComponent(canary)} HTTP/1.1\r\n`],
  ] as const) {
    const given = settings({ credential });
    answer = (_, response) => answerJson(response, { ok: true });
    await call(given, 'price', { symbol: 'DAX' });
    assert.ok(recorder.last().includes(expected), expected);
    const echoes: Answer[] = [
      ({ headers, url }, response) => answerJson(response, { headers, url }),
      ({ headers, url }, response) =>
        response.writeHead(200, { 'content-type': 'text/plain' }).end(JSON.stringify({ headers, url })),
      ({ headers, url }, response) => response.writeHead(403).end(JSON.stringify({ headers, url })),
      ({ headers, url }, response) => {
        const body = Buffer.from(`${'x'.repeat(100_000)}${JSON.stringify({ headers, url })}`);
        response.writeHead(200, { 'content-type': 'text/plain', 'content-length': body.length });
        // In two parts, with the credential across them.
        const middle = body.indexOf(
          credential.in === 'query' ? 'of%2B' : credential.in === 'basic' ? basic.slice(8) : '+a cred',
        );
        response.write(body.subarray(0, middle));
        setTimeout(() => response.end(body.subarray(middle)), 30);
      },
    ];
    for (const echo of echoes) {
      answer = echo;
      const got = call(given, 'price', { symbol: 'DAX' }).then(async (result) =>
        result.kind === 'bytes' ? (await bytesOf(result)).toString() : JSON.stringify(result.value),
      );
      const said = await got.catch((error: unknown) => {
        assert.ok(error instanceof Error && 'code' in error && error.code === 'tool_failed');
        return JSON.stringify(error);
      });
      for (const secret of [canary, basic, encodeURIComponent(canary)])
        assert.ok(!said.includes(secret), said.slice(-300));
    }
  }
});

test('bounds on bytes, time, types and encodings; what the service refuses is told, cut to size', async () => {
  const fail = async (given: HttpSettings, code: string, message: RegExp): Promise<void> => {
    await assert.rejects(
      call(given, 'price', { symbol: 'DAX' }).then(async (result) =>
        result.kind === 'bytes' ? await bytesOf(result) : result,
      ),
      { code, message },
    );
  };
  const large = Buffer.alloc(50_000, 'x');
  answer = (_, response) =>
    response.writeHead(200, { 'content-type': 'image/png', 'content-length': large.length }).end(large);
  const picture = await call(settings(), 'price', { symbol: 'DAX' });
  assert.ok(picture.kind === 'bytes' && picture.contentType === 'image/png' && picture.sizeBytes === large.length);
  assert.deepEqual(await bytesOf(picture), large);
  await fail(settings({ bytesMax: 40_000 }), 'limit_exceeded', /40000/);
  await fail(settings({ contentTypes: ['application/json', 'text/*'] }), 'tool_failed', /image\/png/);
  answer = (_, response) => {
    response.writeHead(200, { 'content-type': 'application/json' });
    const flood = setInterval(() => response.write(large), 1);
    response.on('close', () => clearInterval(flood));
  };
  await fail(settings({ bytesMax: 200_000 }), 'limit_exceeded', /200000/);
  answer = () => undefined;
  await fail(settings({ timeoutMs: 150 }), 'tool_timeout', /150 ms/);
  answer = (_, response) =>
    response.writeHead(200, { 'content-type': 'text/plain', 'content-length': 10 }).write('half');
  await fail(settings({ timeoutMs: 150 }), 'tool_timeout', /150 ms/);
  answer = (_, response) => {
    response.writeHead(200, { 'content-type': 'text/plain', 'content-length': 10 }).write('half');
    setTimeout(() => response.destroy(), 20);
  };
  await fail(settings(), 'tool_failed', /broke off/);
  answer = (_, response) => response.writeHead(200, { 'content-encoding': 'gzip' }).end('x');
  await fail(settings(), 'tool_failed', /encoding/);
  for (const body of ['{"a":1,"a":2}', '{', '['.repeat(50_000), '{"__proto__":1}']) {
    answer = (_, response) => response.writeHead(200, { 'content-type': 'application/json' }).end(body);
    await fail(settings(), 'tool_failed', /JSON/);
  }
  answer = (_, response) =>
    response.writeHead(404, { 'content-type': 'text/plain' }).end(`no such\u001b[31m ${'y'.repeat(9000)}`);
  await assert.rejects(
    call(settings(), 'price', { symbol: 'DAX' }),
    (error: { code: string; details: { status: number; answer: string } }) => {
      assert.equal(error.code, 'tool_failed');
      assert.equal(error.details.status, 404);
      assert.match(error.details.answer, /^no such \[31m y+…$/);
      return error.details.answer.length <= 2000;
    },
  );
  answer = (_, response) => response.writeHead(204).end();
  assert.equal(await valueOf(call(settings(), 'price', { symbol: 'DAX' })), null);
  answer = () => undefined;
  // A resolver that does not answer takes no longer than anything else.
  const late = call(
    settings({ origin: `http://api.test:${recorder.port}`, timeoutMs: 150 }),
    'price',
    { symbol: 'DAX' },
    {
      resolve: () => new Promise(() => undefined),
    },
  );
  await assert.rejects(late, { code: 'tool_timeout' });
  const leave = new AbortController();
  setTimeout(() => leave.abort(), 50);
  await assert.rejects(call(settings(), 'price', { symbol: 'DAX' }, { signal: leave.signal }), { code: 'cancelled' });
});

test('a redirect is followed where the settings say so, without the credential elsewhere, and looked at anew', async () => {
  await using other = await openRecorder((_, response) => answerJson(response, { from: 'other' }));
  const credential = { in: 'bearer', secret: 'key' };
  const to =
    (location: string): Answer =>
    (request, response) =>
      request.url === '/new' ? answerJson(response, { from: 'new' }) : void response.writeHead(302, { location }).end();
  const go = (change: Record<string, unknown>, resolve?: Resolve): Promise<unknown> =>
    valueOf(
      call(
        settings({ credential, ...change }),
        'price',
        { symbol: 'DAX', trace: 'mine' },
        resolve === undefined ? {} : { resolve },
      ),
    ).then((value) => (value as { from: string }).from);
  const refused = { code: 'tool_failed', message: /does not follow/ };
  answer = to('/new');
  await assert.rejects(go({}), refused);
  assert.equal(await go({ redirects: { maxCount: 1 } }), 'new');
  assert.match(recorder.last(), /authorization: Bearer/);
  answer = to(`${other.origin}/x`);
  await assert.rejects(go({ redirects: { maxCount: 5 } }), refused);
  assert.equal(other.received.length, 0);
  assert.equal(await go({ redirects: { maxCount: 1, origins: [other.origin] } }), 'other');
  assert.equal(other.received.length, 1);
  assert.ok(!/authorization|mine|canary/i.test(other.last()), other.last());
  // A name that is at another address by the time of the second look.
  const origin = `http://api.test:${recorder.port}`;
  let looks = 0;
  const rebinding: Resolve = async () => [{ address: (looks += 1) === 1 ? '127.0.0.1' : '169.254.169.254', family: 4 }];
  answer = to('/new');
  await assert.rejects(go({ origin, redirects: { maxCount: 1 } }, rebinding), {
    code: 'tool_failed',
    message: /cannot be reached/,
  });
  assert.equal(looks, 2);
  answer = to(`http://evil@${recorder.origin.slice(7)}/new`);
  await assert.rejects(go({ redirects: { maxCount: 5 } }), refused);
  answer = (_, response) => void response.writeHead(302, { location: '/round' }).end();
  recorder.received.length = 0;
  await assert.rejects(go({ redirects: { maxCount: 3 } }), refused);
  assert.equal(recorder.received.length, 4);
  const post = settings({ redirects: { maxCount: 3 } });
  answer = (_, response) => void response.writeHead(307, { location: '/new' }).end();
  await assert.rejects(call(post, 'order', { count: 1 }), refused);
});

test('the host connects to what was named, at an address that was checked, and nowhere else', async () => {
  const at =
    (addresses: readonly string[]): Resolve =>
    async () =>
      addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));
  const origin = `http://api.test:${recorder.port}`;
  const go = (change: Record<string, unknown>, resolve?: Resolve): Promise<unknown> =>
    valueOf(call(settings(change), 'price', { symbol: 'DAX' }, resolve === undefined ? {} : { resolve }));
  await go({ origin }, at(['127.0.0.1']));
  assert.match(recorder.last(), new RegExp(`\r\nHost: api\\.test:${recorder.port}\r\n`, 'i'));
  recorder.received.length = 0;
  const refused = { code: 'tool_failed', message: /cannot be reached/ };
  await assert.rejects(go({ origin, addresses: [] }, at(['127.0.0.1'])), refused);
  await assert.rejects(go({ origin }, at(['127.0.0.1', '10.0.0.1'])), refused, 'one of several');
  await assert.rejects(go({ origin }, at([])), refused);
  await assert.rejects(go({ addresses: [] }), refused, 'an address in the settings');
  for (const host of ['2130706433', '0x7f000001', '0177.0.0.1', '127.1', '[::ffff:127.0.0.1]', '[::1]']) {
    const written = new URL(`http://${host}:${recorder.port}`).origin;
    await assert.rejects(go({ origin: written, addresses: [] }), refused, host);
  }
  assert.equal(recorder.received.length, 0);
});
