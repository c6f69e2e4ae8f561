// Operations of an OpenAPI document: those that are taken arrive at a service as its document says, the others say why not.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { makeId } from '@bulkhead/protocol';
import { parseArguments } from '../../src/authority/arguments.ts';
import { checkArguments } from '../../src/authority/parameters.ts';
import { importOpenapi } from '../../src/tools/http/import-openapi.ts';
import { openHttpTool } from '../../src/tools/http/open-http-tool.ts';
import { type Recorder, answerJson, openRecorder } from './recorder.ts';

let recorder: Recorder;
let folder: string;
before(async () => {
  recorder = await openRecorder((_, response) => answerJson(response, { ok: true }));
  folder = mkdtempSync(join(tmpdir(), 'bulkhead-openapi-'));
});
after(async () => {
  rmSync(folder, { recursive: true });
  await recorder[Symbol.asyncDispose]();
});

function write(text: string, name = 'market.yaml'): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

function market(): string {
  return `
openapi: 3.1.0
info: { title: Market, version: '1' }
servers: [{ url: '${recorder.origin}/base/' }]
components:
  securitySchemes: { key: { type: apiKey, in: header, name: X-Key } }
  parameters:
    Symbol: { $ref: '#/components/parameters/Real' }
    Real: { name: symbol-id, in: path, required: true, description: which, schema: { type: string } }
  schemas:
    Side: { type: string, enum: [buy, sell] }
    Order:
      type: object
      required: [id, side]
      properties:
        id: { type: integer, readOnly: true }
        symbolId: { type: string }
        side: { $ref: '#/components/schemas/Side' }
        limits: { type: object }
    Tree: { $ref: '#/components/schemas/Tree' }
paths:
  /prices/{symbol-id}:
    parameters: [{ $ref: '#/components/parameters/Symbol' }]
    get:
      operationId: getPrice
      summary: The price of a symbol.
      parameters:
        - { name: fields, in: query, schema: { type: array, items: { type: string } } }
        - { name: maxAge, in: query, schema: { type: [integer, 'null'], minimum: 0 } }
        - { name: X-Trace, in: header, schema: { type: string } }
  /orders/{symbol-id}:
    parameters: [{ $ref: '#/components/parameters/Symbol' }]
    post:
      requestBody: { required: true, content: { application/json: { schema: { $ref: '#/components/schemas/Order' } } } }
  /lists:
    put:
      operationId: putList
      requestBody: { content: { application/json: { schema: { type: array } } } }
  /cookies: { get: { operationId: cookies, parameters: [{ name: a, in: cookie, schema: { type: string } }] } }
  /deep: { get: { operationId: deep, parameters: [{ name: a, in: query, style: deepObject, schema: { type: object } }] } }
  /object: { get: { operationId: object, parameters: [{ name: a, in: query, schema: { type: object } }] } }
  /form: { post: { operationId: form, requestBody: { content: { application/x-www-form-urlencoded: {} } } } }
  /remote: { get: { operationId: remote, parameters: [{ $ref: '${recorder.origin}/p.json#/a' }] } }
  /file: { get: { operationId: file, parameters: [{ $ref: 'other.yaml#/a' }] } }
  /nowhere: { get: { operationId: nowhere, parameters: [{ $ref: '#/components/parameters/Nothing' }] } }
  /round: { post: { operationId: round, requestBody: { content: { application/json: { schema: { $ref: '#/components/schemas/Tree' } } } } } }
  /a/{b}: { get: { operationId: undeclared } }
  /a/{b}{c}:
    get:
      operationId: two
      parameters: [{ name: b, in: path, schema: { type: string } }, { name: c, in: path, schema: { type: string } }]
  /other: { get: { operationId: other, servers: [{ url: 'http://169.254.169.254' }] } }
  /host: { get: { operationId: host, parameters: [{ name: Host, in: header, schema: { type: string } }] } }
  /twice: { get: { operationId: get-price } }
`;
}

test('operations are declared as the document has them, and arrive so', async () => {
  const { settings, refused } = await importOpenapi({ path: write(market()), secret: 'market-key' });
  assert.deepEqual(Object.keys(settings.operations), ['get_price', 'post_orders_symbol_id', 'put_list']);
  assert.deepEqual(settings.operations['get_price'], {
    description: 'The price of a symbol.',
    method: 'GET',
    path: '/base/prices/{symbol_id}',
    parameters: {
      symbol_id: { kind: 'name', description: 'which', in: 'path' },
      fields: { kind: 'names', description: 'fields', optional: true, in: 'query' },
      max_age: { kind: 'integer', minimum: 0, description: 'maxAge', optional: true, in: 'query', as: 'maxAge' },
      x_trace: { kind: 'name', description: 'X-Trace', optional: true, in: 'header', as: 'X-Trace' },
    },
  });
  assert.deepEqual(settings.credential, { in: 'header', name: 'X-Key', secret: 'market-key' });
  const given = { ...settings, addresses: ['127.0.0.0/8'] };
  await using tool = await openHttpTool('market', given, { secret: () => Promise.resolve('canary-of-a-key') });
  const call = async (operation: string, args: Record<string, unknown>): Promise<string> => {
    const { parameters } = tool.description.operations[operation] ?? assert.fail(operation);
    const checked = checkArguments(parameters, parseArguments(Buffer.from(JSON.stringify(args))));
    const signal = AbortSignal.any([]);
    await tool.call(operation, checked, { tenant: makeId('tenant'), session: makeId('session'), subject: 'a', signal });
    return recorder.last();
  };
  const got = await call('get_price', {
    symbol_id: 'D/X'.replace('/', ' '),
    fields: ['b', 'a'],
    max_age: 5,
    x_trace: 't',
  });
  assert.match(
    got,
    /^GET \/base\/prices\/D%20X\?fields=a&fields=b&maxAge=5 HTTP\/1\.1\r\n[^]*x-trace: t\r\n[^]*x-key: canary/,
  );
  const order = await call('post_orders_symbol_id', {
    symbol_id: 'DAX',
    body_symbol_id: 'x',
    side: 'buy',
    limits: { a: [1] },
  });
  assert.match(
    order,
    /^POST \/base\/orders\/DAX HTTP[^]*\r\n\r\n\{"symbolId":"x","side":"buy","limits":\{"a":\[1\]\}\}$/,
  );
  assert.match(await call('put_list', { body: [1, 'a'] }), /\r\n\r\n\[1,"a"\]$/);
  await assert.rejects(call('post_orders_symbol_id', { symbol_id: 'DAX', side: 'keep' }), { code: 'invalid_request' });

  const reasons = Object.fromEntries(refused.map(({ operation, reason }) => [operation, reason]));
  const expected: Record<string, RegExp> = {
    cookies: /in a cookie/,
    deep: /a way of its own/,
    object: /no text, number, truth or list/,
    form: /no JSON/,
    remote: /another document/,
    file: /another document/,
    nowhere: /leads nowhere/,
    round: /circle/,
    undeclared: /not declared/,
    two: /two parameters/,
    other: /server of its own/,
    host: /host's own/,
    'get-price': /already/,
  };
  assert.deepEqual(Object.keys(reasons).toSorted(), Object.keys(expected).toSorted());
  for (const [operation, reason] of Object.entries(expected)) assert.match(reasons[operation] ?? '', reason, operation);
  assert.ok(
    recorder.received.every((bytes) => !bytes.includes('/p.json')),
    'nothing was fetched',
  );
});

test('only what is asked for; what is no document, or says nothing of its server, is refused', async () => {
  const path = write(market());
  const { settings, refused } = await importOpenapi({
    path,
    operations: ['PUT /lists'],
    origin: 'https://api.example.net',
  });
  assert.deepEqual(
    [Object.keys(settings.operations), refused, settings.origin],
    [['put_list'], [], 'https://api.example.net'],
  );
  await assert.rejects(importOpenapi({ path, operations: ['nothing'] }), {
    code: 'invalid_request',
    message: /no operation "nothing"/,
  });
  await assert.rejects(importOpenapi({ path, operations: ['form'] }), { code: 'invalid_request', message: /None/ });
  const relative = '{"openapi":"3.0.3","servers":[{"url":"/v2"}],"paths":{"/a":{"get":{}}}}';
  await assert.rejects(importOpenapi({ path: write(relative, 'r.json') }), {
    code: 'invalid_request',
    message: /does not say where/,
  });
  const found = await importOpenapi({ path: write(relative, 'r.json'), origin: 'https://api.example.net' });
  assert.equal(found.settings.operations['get_a']?.path, '/v2/a');
  for (const text of ['{"swagger":"2.0","paths":{}}', '[]', '{', 'text']) {
    await assert.rejects(importOpenapi({ path: write(text, 'bad.json') }), { code: 'invalid_request' }, text);
  }
  await assert.rejects(importOpenapi({ path: join(folder, 'none.yaml') }), { code: 'invalid_request' });
  await assert.rejects(importOpenapi({ path: `${recorder.origin}/p.json` }), { code: 'invalid_request' });
  assert.ok(recorder.received.every((bytes) => !bytes.includes('/p.json')));
});
