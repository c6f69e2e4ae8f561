// Objects under a tenant's prefix: against a server that speaks as AWS does, and against one that lies.

import assert from 'node:assert/strict';
import { type RequestListener, type ServerResponse, createServer } from 'node:http';
import { after, before, test } from 'node:test';
import { BulkheadError } from '@bulkhead/protocol';
import type { S3Tool } from '../../src/tools/s3/s3-tool.ts';
import { type ObjectServer, startMoto } from './object-servers.ts';
import { bytesOf, call, fillBucket, objectCanary, openTool, roleOf, s3Settings, valueOf } from './s3-support.ts';

let moto: ObjectServer;
before(async () => {
  moto = await startMoto();
  await fillBucket(moto);
});
after(async () => {
  await moto[Symbol.asyncDispose]();
});

const open = (change: Record<string, unknown> = {}): Promise<S3Tool> =>
  openTool(s3Settings(moto.url, change), moto.secretAccessKey);

test('objects are read, described, listed, written and deleted, by keys below the prefix', async () => {
  await using tool = await open();
  assert.equal((await bytesOf(call(tool, 'get', { key: 'prices/dax.csv' }))).toString(), 'DAX,1');
  assert.equal(Reflect.get(Object(await valueOf(call(tool, 'head', { key: 'prices/dax.csv' }))), 'size'), 5);
  const put = await valueOf(
    call(tool, 'put', { key: 'reports/é/1.json', text: '{"ü":1}', content_type: 'application/json' }),
  );
  assert.equal(Reflect.get(Object(put), 'size'), 8);
  assert.equal((await bytesOf(call(tool, 'get', { key: 'reports/é/1.json' }))).toString(), '{"ü":1}');
  assert.equal(
    Reflect.get(Object(await valueOf(call(tool, 'head', { key: 'reports/é/1.json' }))), 'contentType'),
    'application/json',
  );
  await valueOf(call(tool, 'put', { key: 'reports/2.bin', base64: 'AAEC/w==' }));
  assert.deepEqual(await bytesOf(call(tool, 'get', { key: 'reports/2.bin' })), Buffer.from([0, 1, 2, 255]));

  const keysOf = async (given: object): Promise<readonly [readonly string[], string | null]> => {
    const page = (await valueOf(call(tool, 'list', given))) as { objects: { key: string }[]; cursor: string | null };
    return [page.objects.map(({ key }) => key), page.cursor];
  };
  const all = ['prices/dax.csv', 'prices/smi.csv', 'reports/2.bin', 'reports/é/1.json'];
  assert.deepEqual(await keysOf({}), [all, null]);
  assert.deepEqual(await keysOf({ prefix: 'prices' }), [all.slice(0, 2), null]);
  assert.deepEqual(await keysOf({ prefix: 'price' }), [[], null], 'a folder, not the beginning of a name');
  const walked: string[] = [];
  for (let cursorOf: string | null = ''; cursorOf !== null;) {
    const [keys, cursor] = await keysOf({ limit: 1, ...(cursorOf === '' ? {} : { after: cursorOf }) });
    assert.equal(keys.length, 1);
    walked.push(...keys);
    cursorOf = cursor;
  }
  assert.deepEqual(walked, all);

  await valueOf(call(tool, 'delete', { key: 'reports/2.bin' }));
  await assert.rejects(call(tool, 'get', { key: 'reports/2.bin' }), { code: 'tool_failed', message: /no such object/ });
});

test('what is written if absent is written once', async () => {
  await using tool = await open();
  await valueOf(call(tool, 'put', { key: 'once', text: 'first', if_absent: true }));
  await assert.rejects(call(tool, 'put', { key: 'once', text: 'second', if_absent: true }), {
    code: 'tool_failed',
    message: /already/,
  });
  assert.equal((await bytesOf(call(tool, 'get', { key: 'once' }))).toString(), 'first');
});

test('an address reads one object, for its time; the settings have to turn it on', async () => {
  await using tool = await open({ presignMaxSeconds: 60 });
  const given = (await valueOf(call(tool, 'presign', { key: 'prices/dax.csv', seconds: 30 }))) as {
    url: string;
    expiresAt: string;
  };
  assert.equal(await (await fetch(given.url)).text(), 'DAX,1');
  assert.equal(new URL(given.url).searchParams.get('X-Amz-Expires'), '30');
  assert.ok(Math.abs(Date.parse(given.expiresAt) - Date.now() - 30_000) < 5000);
  assert.ok(!given.url.includes(moto.secretAccessKey));
  await assert.rejects(call(tool, 'presign', { key: 'prices/dax.csv', seconds: 61 }), { code: 'invalid_request' });
  await using reader = await open({ operations: ['get'] });
  assert.deepEqual(Object.keys(reader.description.operations), ['get']);
  const checked = { value: { key: 'prices/dax.csv' }, canonical: '', digest: '' };
  const context = { tenant: 'ten_x', session: 'ses_x', subject: 'x', signal: new AbortController().signal } as never;
  await assert.rejects(reader.call('presign', checked, context), { code: 'not_found' });
});

test('contents that are none, twice or too large are refused', async () => {
  await using tool = await open({ bytesMax: 1024 });
  const refused = async (given: object, code: string): Promise<void> => {
    await assert.rejects(call(tool, 'put', { key: 'bad', ...given }), { code }, JSON.stringify(given).slice(0, 100));
  };
  await refused({}, 'invalid_request');
  await refused({ text: 'a', base64: 'YQ==' }, 'invalid_request');
  await refused({ base64: 'YQ' }, 'invalid_request');
  await refused({ base64: 'Y Q==' }, 'invalid_request');
  await refused({ text: 'a', content_type: 'a/b\r\nx: y' }, 'invalid_request');
  await refused({ text: 'x'.repeat(1025) }, 'limit_exceeded');
  await refused({ file: '/etc/passwd' }, 'invalid_request');
  await refused({ file: { sha256: 'a'.repeat(64), size: 1 } }, 'invalid_request');
  await assert.rejects(call(tool, 'head', { key: 'bad' }), { code: 'tool_failed' }, 'nothing was written');
  await valueOf(call(tool, 'put', { key: 'good', text: 'x'.repeat(1024) }));
  await using small = await open({ bytesMax: 4 });
  await assert.rejects(call(small, 'get', { key: 'prices/dax.csv' }), { code: 'limit_exceeded' });
});

test('no key leads out of the prefix', async () => {
  await using tool = await open();
  for (const key of [
    '../globex/prices/dax.csv',
    '/globex/prices/dax.csv',
    'x/../../globex/prices/dax.csv',
    '..%2fglobex/prices/dax.csv',
    '-two/prices/dax.csv',
  ]) {
    await assert.rejects(call(tool, 'get', { key }), { code: 'invalid_request' }, key);
  }
  const listed = JSON.stringify(await valueOf(call(tool, 'list', { after: '../' })));
  assert.ok(listed.includes('prices/dax.csv') && !listed.includes('two') && !listed.includes('globex'));
  await using other = await open({ prefix: 'globex' });
  assert.equal(
    (await bytesOf(call(other, 'get', { key: 'prices/dax.csv' }))).toString(),
    objectCanary,
    'it is there to be seen',
  );
});

async function lyingServer(listener: RequestListener): Promise<AsyncDisposable & { readonly url: string }> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  return {
    url: `http://127.0.0.1:${address.port}`,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => void server.close(resolve));
    },
  };
}

test('a store that lies, floods, redirects or is silent gains nothing', async () => {
  const secret = 'canary-of-a-lying-store';
  const seen: string[] = [];
  await using elsewhere = await lyingServer(({ url = '' }, response) => {
    seen.push(url);
    response.end();
  });
  // As fast as it is taken: what is measured below is what the tool holds, not what waits in this process to be sent.
  const flood = (response: ServerResponse): void => {
    const more = (): void => {
      if (response.destroyed) return;
      if (response.write('x'.repeat(1_000_000))) setImmediate(more);
      else response.once('drain', more);
    };
    more();
  };
  await using store = await lyingServer(({ url = '', method }, response) => {
    if (url.includes('redirect')) response.writeHead(307, { location: `${elsewhere.url}/stolen` }).end();
    else if (url.includes('silent')) return;
    else if (url.includes('words'))
      response
        .writeHead(403)
        .end(`<Error><Code>AccessDenied</Code><Message>${secret} arn:aws:iam::1:role/x</Message></Error>`);
    else if (url.includes('long')) response.writeHead(200, { 'content-length': '2000' }).end('x'.repeat(2000));
    else if (url.includes('short'))
      response.writeHead(200, { 'content-length': '900' }).write('x', () => response.destroy());
    else if (url.includes('chunked')) response.writeHead(200).end('x');
    else if (url.includes('flood')) flood(response);
    else if (url.includes('list-type'))
      response.end(
        '<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>globex/x</Key></Contents></ListBucketResult>',
      );
    else
      response
        .writeHead(200, {
          etag: 'e'.repeat(5000),
          'content-type': 'a\tb',
          'content-length': method === 'HEAD' ? '5' : '0',
        })
        .end();
  });
  await using tool = await openTool(s3Settings(store.url, { bytesMax: 1000, timeoutMs: 1500 }), secret);
  const told = async (operation: string, given: object, code: string): Promise<void> => {
    const error: unknown = await call(tool, operation, given)
      .then(async (answer) => (answer.kind === 'bytes' ? await Array.fromAsync(answer.bytes) : answer))
      .then(
        (answer) => assert.fail(JSON.stringify(answer).slice(0, 200)),
        (failure: unknown) => failure,
      );
    assert.ok(BulkheadError.is(error), String(error));
    assert.equal(error.code, code, `${operation} ${JSON.stringify(given)}`);
    const words = JSON.stringify(error);
    assert.ok(!words.includes(secret) && !words.includes('arn:') && !words.includes('127.0.0.1'), words);
  };
  const { rss } = process.memoryUsage();
  await told('get', { key: 'redirect' }, 'tool_failed');
  await told('get', { key: 'silent' }, 'tool_timeout');
  await told('get', { key: 'words' }, 'tool_failed');
  await told('get', { key: 'long' }, 'limit_exceeded');
  await told('get', { key: 'short' }, 'tool_failed');
  await told('get', { key: 'chunked' }, 'tool_failed');
  await told('list', { prefix: 'flood' }, 'limit_exceeded');
  await told('delete', { key: 'flood' }, 'limit_exceeded');
  await told('list', {}, 'tool_failed');
  assert.ok(process.memoryUsage().rss - rss < 200_000_000);
  const head = (await valueOf(call(tool, 'head', { key: 'odd' }))) as { etag: string; contentType: string };
  assert.ok(head.etag.length <= 256);
  assert.equal(head.contentType, 'application/octet-stream');
  assert.deepEqual(seen, [], 'no redirect is followed');
  const stop = new AbortController();
  const slow = call(tool, 'get', { key: 'silent' }, { signal: stop.signal });
  stop.abort();
  await assert.rejects(slow, { code: 'cancelled' });
});

test('keys of a role serve as well; where none can be made, nothing is asked of the store', async () => {
  await using tool = await openTool(s3Settings(moto.url, { credentials: roleOf(moto) }), moto.secretAccessKey);
  assert.equal((await bytesOf(call(tool, 'get', { key: 'prices/dax.csv' }))).toString(), 'DAX,1');
  await using broken = await openTool(
    s3Settings(moto.url, { credentials: roleOf(moto, { endpoint: 'http://127.0.0.1:9' }) }),
    moto.secretAccessKey,
  );
  await assert.rejects(call(broken, 'get', { key: 'prices/dax.csv' }), {
    code: 'tool_failed',
    message: /No credentials/,
  });
});
