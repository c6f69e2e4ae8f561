// What was decided is byte for byte what the object store receives: thousands of keys, prefixes and contents of the worst kind, by seed.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { type Server, createServer } from 'node:http';
import { after, before, test } from 'node:test';
import { BulkheadError } from '@bulkhead/protocol';
import * as fc from 'fast-check';
import { parseArguments } from '../../src/authority/arguments.ts';
import { checkArguments } from '../../src/authority/parameters.ts';
import type { S3Tool } from '../../src/tools/s3/s3-tool.ts';
import { bucket, context, openTool, s3Settings } from './s3-support.ts';

const seed = Number(process.env['BULKHEAD_TEST_SEED'] ?? 20_261_128);

interface Received {
  readonly method: string;
  readonly url: string;
  readonly headers: NodeJS.Dict<string | string[]>;
  readonly body: Buffer;
}

let server: Server;
let tool: S3Tool;
const received: Received[] = [];

before(async () => {
  server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const { method = '', url = '', headers } = request;
      received.push({ method, url, headers, body: Buffer.concat(chunks) });
      if (url.includes('list-type=2'))
        response.end('<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>');
      else response.end();
    });
  });
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  tool = await openTool(s3Settings(`http://127.0.0.1:${address.port}`), 'canary-of-a-secret-key');
});
after(async () => {
  await tool[Symbol.asyncDispose]();
  server.closeAllConnections();
  await new Promise((resolve) => void server.close(resolve));
});

const segment = fc.oneof(
  { weight: 6, arbitrary: fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9 ._:@+=,!()'~-]{0,12}$/) },
  {
    weight: 2,
    arbitrary: fc.constantFrom(
      'prices',
      'ключ',
      '値段',
      'é',
      'e\u0301',
      'ﬁ',
      'K',
      'a b',
      'a+b',
      "o'clock",
      'a~b',
      'a(b)',
    ),
  },
  {
    weight: 3,
    arbitrary: fc.constantFrom(
      '..',
      '.',
      '',
      '%2e%2e',
      '%2f',
      '..%2f',
      'a%00',
      'a\0',
      'a\\b',
      '..\\',
      'a?b',
      'a#b',
      'a&b',
      '*',
      '${x}',
      'a\nb',
      'a\r\nHost: b',
      '․․',
      '∕',
      '／',
      '‥',
      '\u202e',
      '\ufeff',
      'a ',
      ' a',
      '-',
      '~',
      '_x',
    ),
  },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 6 }) },
);
const path = fc.oneof(
  { weight: 5, arbitrary: fc.array(segment, { minLength: 1, maxLength: 5 }).map((names) => names.join('/')) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      '../globex/x',
      '/globex/x',
      'a/../../globex/x',
      '../acme-two/x',
      'x'.repeat(1024),
      'a/'.repeat(300),
    ),
  },
);
const request = fc.oneof(
  fc.record({ operation: fc.constantFrom('get', 'head', 'delete', 'presign'), given: fc.record({ key: path }) }),
  fc.record({
    operation: fc.constant('list'),
    given: fc.record(
      {
        prefix: path,
        after: fc.string({ unit: 'grapheme', maxLength: 20 }),
        limit: fc.integer({ min: -1, max: 1001 }),
      },
      { requiredKeys: [] },
    ),
  }),
  fc.record({
    operation: fc.constant('put'),
    given: fc.record(
      {
        key: path,
        text: fc.string({ unit: 'grapheme', maxLength: 40 }),
        content_type: fc.constantFrom('text/csv', 'text/csv\r\nx-amz-acl: public-read', 'a'),
      },
      { requiredKeys: ['key', 'text'] },
    ),
  }),
);

function textOf(value: unknown): string {
  assert.ok(typeof value === 'string');
  return value;
}

test('4,000 calls: the store receives exactly what was decided on, or nothing', { timeout: 200_000 }, async () => {
  const counts = { sent: 0, refused: 0 };
  await fc.assert(
    fc.asyncProperty(request, async ({ operation, given }) => {
      received.length = 0;
      const description = tool.description.operations[operation] ?? assert.fail();
      let checked;
      let resource;
      try {
        checked = checkArguments(description.parameters, parseArguments(Buffer.from(JSON.stringify(given))));
        resource = tool.resourceOf(operation, checked);
      } catch (error) {
        assert.ok(BulkheadError.is(error, 'invalid_request'), String(error));
        counts.refused += 1;
        return;
      }
      counts.sent += 1;
      const answer = await tool.call(operation, checked, context);
      const { value } = checked;
      if (operation === 'presign') {
        assert.ok(answer.kind === 'value');
        assert.equal(received.length, 0);
        const url = new URL(String(Reflect.get(Object(answer.value), 'url')));
        assert.equal(decodeURIComponent(url.pathname), `/${resource.id}`);
        assert.equal(resource.id, `${bucket}/acme/${textOf(value['key'])}`);
        return;
      }
      assert.equal(received.length, 1, 'one request, once');
      const [sent] = received;
      assert.ok(sent);
      assert.ok(!JSON.stringify([sent.url, sent.headers]).includes('canary-of-a-secret-key'));
      const [rawPath = '', rawQuery = ''] = sent.url.split('?');
      assert.match(rawPath, /^[\w/.~%!'()*-]+$/);
      assert.ok(!rawPath.split('/').some((name) => name === '..' || name === '.'));
      const query = new URLSearchParams(rawQuery);
      if (operation === 'list') {
        const { prefix, after: start } = value;
        assert.equal(decodeURIComponent(rawPath).replace(/\/$/, ''), `/${bucket}`);
        assert.equal(query.get('prefix'), prefix === undefined ? 'acme/' : `acme/${textOf(prefix)}/`);
        assert.equal(`${bucket}/${query.get('prefix') ?? ''}`, `${resource.id}/`);
        assert.equal(query.get('start-after'), typeof start === 'string' && start !== '' ? `acme/${start}` : null);
        assert.equal(query.get('max-keys'), JSON.stringify(value['limit'] ?? 1000));
        return;
      }
      assert.equal(decodeURIComponent(rawPath), `/${bucket}/acme/${textOf(value['key'])}`);
      assert.equal(decodeURIComponent(rawPath), `/${resource.id}`);
      assert.ok(resource.within.some(({ type, id }) => type === 'Prefix' && id === `${bucket}/acme`));
      assert.equal(sent.method, { get: 'GET', head: 'HEAD', delete: 'DELETE', put: 'PUT' }[operation]);
      assert.equal(sent.headers['x-amz-acl'], undefined);
      if (operation !== 'put') return;
      assert.deepEqual(sent.body, Buffer.from(textOf(value['text'])));
      assert.equal(sent.headers['x-amz-checksum-sha256'], createHash('sha256').update(sent.body).digest('base64'));
      assert.equal(
        sent.headers['content-type'] ?? 'application/octet-stream',
        value['content_type'] ?? 'application/octet-stream',
      );
    }),
    { seed, numRuns: 4000 },
  );
  // Both happen, often.
  assert.ok(counts.sent > 1000 && counts.refused > 500, JSON.stringify(counts));
});
