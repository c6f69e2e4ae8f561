// What a request becomes on the way to a server that refuses, hangs up, answers nonsense, or is not there.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { inspect } from 'node:util';
import { makeId } from '@bulkhead/protocol';
import { Bulkhead, BulkheadError, type BulkheadOptions, type Wait } from '../src/index.ts';
import { sleep } from '../src/abort.ts';
import { type TableServer, startTableServer, testKey } from './table-server.ts';
import { TableService } from './table-service.ts';

const retry = { firstDelayMs: 1 };

interface Setup extends AsyncDisposable {
  readonly server: TableServer;
  readonly service: TableService;
  readonly client: Bulkhead;
}

async function setUp(options: Partial<BulkheadOptions> = {}): Promise<Setup> {
  const service = new TableService();
  const server = await startTableServer(service.handlers);
  const client = new Bulkhead({ url: server.url, apiKey: testKey, retry, ...options });
  return { server, service, client, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

const keysOf = ({ calls }: TableServer): readonly unknown[] => calls.map(({ headers }) => headers['idempotency-key']);

async function failureOf(work: Promise<unknown>): Promise<BulkheadError> {
  try {
    await work;
  } catch (error) {
    assert.ok(BulkheadError.is(error), inspect(error));
    return error;
  }
  return assert.fail('it did not fail');
}

describe('a request that is sent again', () => {
  it('creates once though the answer was lost twice: every attempt has the same key', async () => {
    await using setup = await setUp();
    const { server, service, client } = setup;
    server.fail('createSession', { kind: 'cut-before' }, { kind: 'cut-after' }, { kind: 'cut-after' });
    const session = await client.sessions.create({ labels: { team: 'risk' } });
    assert.equal(service.sessions.size, 1);
    assert.ok(service.sessions.has(session.id));
    const keys = keysOf(server);
    assert.equal(keys.length, 4);
    assert.equal(new Set(keys).size, 1);
    await client.sessions.create();
    assert.notEqual(keysOf(server).at(-1), keys[0], 'another call has another key');
  });

  it('takes a key of the caller, and gives the same answer to the same key', async () => {
    await using setup = await setUp();
    const { service, client } = setup;
    const options = { idempotencyKey: 'order-4711' };
    const [first, second] = [await client.sessions.create({}, options), await client.sessions.create({}, options)];
    assert.equal(first.id, second.id);
    assert.equal(service.sessions.size, 1);
    const other = await failureOf(client.sessions.create({ labels: { a: 'b' } }, options));
    assert.equal(other.code, 'idempotency_conflict');
  });

  it('is none when it changes something, has no key, and nobody knows whether it was done', async () => {
    await using setup = await setUp();
    const { server, service, client } = setup;
    const session = await client.sessions.create();
    server.fail('updateSession', { kind: 'cut-after' });
    const error = await failureOf(session.setLabels({ a: 'b' }));
    assert.equal(error.code, 'server_unreachable');
    assert.equal(server.calls.filter(({ operation }) => operation === 'updateSession').length, 1);
    assert.deepEqual(service.sessions.get(session.id)?.labels, { a: 'b' });
  });

  it('waits as the server says, also for what has no key, when it was refused before', async () => {
    await using setup = await setUp();
    const { server, client } = setup;
    const session = await client.sessions.create();
    server.fail('updateSession', { kind: 'refuse', code: 'rate_limited', retryAfter: '0' });
    assert.deepEqual((await session.setLabels({ a: 'b' })).labels, { a: 'b' });
    server.fail('updateSession', { kind: 'refuse', code: 'store_unavailable' });
    assert.equal((await failureOf(session.setLabels({ a: 'c' }))).code, 'store_unavailable');
  });

  it('ends with the last error after the last attempt', async () => {
    await using setup = await setUp({ retry: { ...retry, attemptsMaxCount: 3 } });
    const { server, client } = setup;
    server.fail(
      'getCaller',
      ...Array.from({ length: 5 }, () => ({ kind: 'refuse', code: 'store_unavailable' }) as const),
    );
    assert.equal((await failureOf(client.caller())).code, 'store_unavailable');
    assert.equal(server.calls.length, 3);
  });
});

describe('what went wrong', () => {
  it('has everything that the server said', async () => {
    await using setup = await setUp();
    const { server, client } = setup;
    server.fail('getCaller', { kind: 'refuse', code: 'forbidden' });
    const { code, message, hint, details, requestId } = await failureOf(client.caller());
    assert.deepEqual(
      { code, message, hint, details },
      { code: 'forbidden', message: 'Refused with forbidden.', hint: 'On order.', details: { on: 'order' } },
    );
    assert.match(requestId ?? '', /^req_/);
  });

  it('is an error of the catalogue, whoever answers', async () => {
    await using setup = await setUp({ retry: { attemptsMaxCount: 1 } });
    const { server, client } = setup;
    const newer = JSON.stringify({ code: 'moon_phase', detail: 'Not tonight.', status: 409 });
    for (const [status, body, expected] of [
      [502, '<html>Bad Gateway</html>', 'server_unreachable'],
      [504, '', 'server_unreachable'],
      [404, '<html>nothing</html>', 'not_found'],
      [401, '{}', 'unauthenticated'],
      [413, 'too large', 'limit_exceeded'],
      [418, 'a teapot', 'invalid_request'],
      [500, '[1, 2]', 'internal'],
      [409, newer, 'invalid_request'],
    ] as const) {
      server.fail('getCaller', { kind: 'raw', status, body });
      const error = await failureOf(client.caller());
      assert.equal(error.code, expected, String(status));
      assert.ok(error.hint !== undefined);
    }
    server.fail('getCaller', { kind: 'raw', status: 409, body: newer });
    const error = await failureOf(client.caller());
    assert.equal(error.message, 'Not tonight.');
    assert.deepEqual(error.details, { status: 409, code: 'moon_phase' });
  });

  it('is told when the answer is not one of Bulkhead’s', async () => {
    await using setup = await setUp({ retry: { attemptsMaxCount: 1 } });
    const { server, client } = setup;
    for (const body of ['<html>welcome</html>', '{"subject": 7}', '']) {
      server.fail('getCaller', { kind: 'raw', status: 200, body });
      assert.match((await failureOf(client.caller())).message, /not one of Bulkhead's/);
    }
  });

  it('is server_unreachable where nobody listens, with the reason', async () => {
    const setup = await setUp();
    await setup.server.close();
    const error = await failureOf(setup.client.caller());
    assert.equal(error.code, 'server_unreachable');
    assert.match(error.message, /ECONNREFUSED/);
  });

  it('is no redirect: nothing is sent to another host', async () => {
    await using setup = await setUp({ retry: { attemptsMaxCount: 1 } });
    await using other = await startTableServer({}, () => true);
    const headers = { location: `${other.url}/v1/caller` };
    setup.server.fail('getCaller', { kind: 'raw', status: 307, headers, body: '' });
    assert.equal((await failureOf(setup.client.caller())).code, 'server_unreachable');
    assert.equal(other.calls.length, 0);
  });

  it('is told in time when no answer comes', async () => {
    await using server = await startTableServer({ getCaller: () => new Promise(() => undefined) });
    const client = new Bulkhead({
      url: server.url,
      apiKey: testKey,
      answerTimeoutMs: 50,
      retry: { ...retry, attemptsMaxCount: 2 },
    });
    assert.match((await failureOf(client.caller())).message, /no answer to getCaller for 50 ms/);
    assert.equal(server.calls.length, 2);
  });

  it('is cancelled when the caller gives up, at once, and in a wait before the next attempt too', async () => {
    await using server = await startTableServer({ getCaller: () => new Promise(() => undefined) });
    const client = new Bulkhead({ url: server.url, apiKey: testKey });
    const hanging = new AbortController();
    const call = client.caller({ signal: hanging.signal });
    hanging.abort(new Error('enough'));
    const error = await failureOf(call);
    assert.equal(error.code, 'cancelled');
    assert.equal((error.cause as Error).message, 'enough');
    assert.equal((await failureOf(client.caller({ signal: AbortSignal.abort() }))).code, 'cancelled');

    const refusing = await startTableServer({});
    refusing.fail('getCaller', { kind: 'refuse', code: 'rate_limited' });
    const waiting = new AbortController();
    const wait: Wait = (delayMs, signal) => {
      const pause = sleep(delayMs, signal);
      waiting.abort();
      return pause;
    };
    const patient = new Bulkhead({ url: refusing.url, apiKey: testKey, retry: { firstDelayMs: 60_000 }, wait });
    assert.equal((await failureOf(patient.caller({ signal: waiting.signal }))).code, 'cancelled');
    await refusing.close();
  });
});

describe('the key', () => {
  it('is in no error, and not in the client when it is printed', async () => {
    const secret = 'bk_secret_that_nobody_may_see';
    const seen: unknown[] = [];
    await using setup = await setUp({ apiKey: secret, retry: { attemptsMaxCount: 1 } });
    seen.push(await failureOf(setup.client.caller()), setup.client);
    await setup.server.close();
    seen.push(await failureOf(setup.client.caller()));
    for (const apiKey of [`${secret}\n`, `two ${secret}`, '']) {
      try {
        seen.push(new Bulkhead({ url: setup.server.url, apiKey }));
        assert.fail('a key that is none was taken');
      } catch (error) {
        seen.push(error);
      }
    }
    const token = (): string => `${secret}\r\nx: y`;
    seen.push(await failureOf(new Bulkhead({ url: setup.server.url, token }).caller()));
    for (const value of seen) {
      const printed = inspect(value, { depth: 20, showHidden: true });
      assert.ok(!printed.includes(secret), printed);
      assert.ok(!JSON.stringify(value).includes(secret));
    }
  });

  it('may come from a provider, which is asked again, once, when the server refuses', async () => {
    const good = new Set(['token-2']);
    await using server = await startTableServer(
      { getCaller: () => ({ tenant: makeId('tenant'), subject: 's', scopes: [], key: null }) },
      (given) => good.has(given?.replace('Bearer ', '') ?? ''),
    );
    const asked: boolean[] = [];
    const token = ({ refused }: { readonly refused: boolean }): string => {
      asked.push(refused);
      return refused ? 'token-2' : 'token-1';
    };
    const client = new Bulkhead({ url: server.url, token, retry });
    assert.equal((await client.caller()).subject, 's');
    assert.deepEqual(asked, [false, true]);
    good.clear();
    assert.equal((await failureOf(client.caller())).code, 'unauthenticated');
    assert.deepEqual(asked, [false, true, false, true]);
  });

  it('is not taken in a URL, nor is a URL that is none', () => {
    for (const url of ['http://user:pw@127.0.0.1/', 'ftp://127.0.0.1', 'nonsense', 'http://127.0.0.1/?a=b', '']) {
      assert.throws(() => new Bulkhead({ url, apiKey: 'k' }), { code: 'invalid_request' });
    }
    assert.throws(() => new Bulkhead({ url: 'http://127.0.0.1', apiKey: 'a', token: () => 'b' }), /not both/);
  });
});
