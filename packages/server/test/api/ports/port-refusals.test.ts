// What is refused, and what a token is good for.

import assert from 'node:assert/strict';
import { buffer } from 'node:stream/consumers';
import { describe, test } from 'node:test';
import { type Echo, ask, expose, openEcho, openPortHarness, sendRaw, startRequest } from './port-harness.ts';

describe('what a request for a port must not look like', () => {
  const targets: Record<string, string> = {
    'dots that go up': '/a/../../../v1/sessions',
    'encoded dots': '/a/%2e%2E/b',
    'half encoded dots': '/.%2e/b',
    'dots with a parameter': '/..;x/b',
    'an encoded slash': '/a%2f..%2fb',
    'an encoded backslash': '/a%5Cb',
    'a backslash': '/a\\b',
    'an encoded line break': '/a%0d%0aX:%20y',
    'an encoded NUL': '/a%00',
    'a broken escape': '/a%2',
    'an escape that is none': '/a%zz',
    'a fragment': '/a#b',
    'a very long path': `/${'a'.repeat(9000)}`,
  };
  for (const [name, target] of Object.entries(targets)) {
    test(name, async (context) => {
      const harness = await openEcho(context);
      const request = `GET ${harness.path}${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Bulkhead-Port-Token: ${harness.token}\r\n\r\n`;
      const answer = await sendRaw(harness, request);
      assert.match(answer, /^HTTP\/1\.1 400 /);
      assert.equal(harness.machine().guest.connections.count, 0);
    });
  }

  const heads: Record<string, string> = {
    'two lengths': 'Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd',
    'a length and chunks': 'Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'chunks in disguise': 'Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n',
    'chunks twice': 'Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'a folded header': 'X: a\r\n b\r\nContent-Length: 0\r\n\r\n',
    'a space before the colon': 'Content-Length : 3\r\n\r\nabc',
    'two hosts': 'Host: y\r\nContent-Length: 0\r\n\r\n',
    'a length that is none': 'Content-Length: +3\r\n\r\nabc',
  };
  for (const [name, rest] of Object.entries(heads)) {
    test(name, async (context) => {
      const harness = await openEcho(context);
      const head = `POST ${harness.path}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Bulkhead-Port-Token: ${harness.token}\r\n`;
      const answer = await sendRaw(harness, head + rest);
      assert.match(answer, /^HTTP\/1\.1 4\d\d /);
      assert.equal(answer.match(/HTTP\/1\.1 /g)?.length, 1, 'one answer');
    });
  }

  test('an absolute target is nobody’s, and neither is a tunnel', async (context) => {
    const harness = await openEcho(context);
    const token = `X-Bulkhead-Port-Token: ${harness.token}`;
    const absolute = `GET http://x${harness.path}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${token}\r\n\r\n`;
    assert.doesNotMatch(await sendRaw(harness, absolute), /"url"/);
    const tunnel = `CONNECT ${harness.path} HTTP/1.1\r\nHost: x\r\n${token}\r\n\r\n`;
    assert.doesNotMatch(await sendRaw(harness, tunnel), / 200 /);
    assert.equal((await ask(harness, `${harness.path}/`, harness.auth, { method: 'TRACE' })).status, 405);
  });

  test('a second request that is hidden in the body of the first stays its body', async (context) => {
    const harness = await openEcho(context);
    const hidden = `GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n`;
    const answer = await ask(harness, `${harness.path}/`, harness.auth, { method: 'POST', body: hidden });
    assert.equal((JSON.parse(answer.body) as Echo).body, hidden);
  });
});

describe('a token', () => {
  test('in an address becomes a cookie of that path, and the address one without it', async (context) => {
    const harness = await openEcho(context);
    const first = await ask(harness, `${harness.path}/page?a=1&bulkhead_token=${harness.token}&b=2`);
    assert.equal(first.status, 303);
    assert.equal(first.headers.location, `${harness.path}/page?a=1&b=2`);
    assert.equal(first.headers['referrer-policy'], 'no-referrer');
    const [cookie = ''] = first.headers['set-cookie'] ?? [];
    assert.match(cookie, /^bulkhead_port_token=bhp_\S+; Path=\/p\/prt_\w+\/; Max-Age=60; HttpOnly; SameSite=Strict$/);
    const second = await ask(harness, first.headers.location ?? '', { cookie: cookie.split(';')[0] ?? '' });
    assert.equal((JSON.parse(second.body) as Echo).url, '/page?a=1&b=2');
    assert.equal((JSON.parse(second.body) as Echo).headers.cookie, undefined);
  });

  test('is taken to the page after a link on another site, which would come without a strict cookie', async (context) => {
    const harness = await openEcho(context);
    const path = `${harness.path}/?bulkhead_token=${harness.token}&q="><script>alert(1)</script>`.replaceAll(
      '"',
      '%22',
    );
    const answer = await ask(harness, path, { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate' });
    assert.equal(answer.status, 200);
    assert.doesNotMatch(answer.body, /<script/);
    assert.match(answer.body, /http-equiv="refresh"/);
    assert.equal(answer.body.includes(harness.token), false);
  });

  test('in an address is not for anything but opening a page', async (context) => {
    const harness = await openEcho(context);
    const path = `${harness.path}/?bulkhead_token=${harness.token}`;
    assert.equal((await ask(harness, path, {}, { method: 'POST' })).status, 400);
    assert.equal(harness.machine().guest.connections.count, 0);
  });

  test('in a cookie is not for pages of other origins', async (context) => {
    const harness = await openEcho(context);
    const cookie = `bulkhead_port_token=${harness.token}`;
    const own = `http://127.0.0.1:${harness.port}`;
    const statusOf = async (headers: Record<string, string>, method = 'GET'): Promise<number> =>
      (await ask(harness, `${harness.path}/`, { cookie, ...headers }, { method })).status;
    assert.equal(await statusOf({}), 200);
    assert.equal(await statusOf({ origin: own, 'sec-fetch-site': 'same-origin' }, 'POST'), 200);
    assert.equal(await statusOf({ 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate' }), 200);
    assert.equal(await statusOf({ origin: 'https://evil.example' }, 'POST'), 403);
    assert.equal(await statusOf({ origin: 'null' }, 'POST'), 403);
    assert.equal(await statusOf({ 'sec-fetch-site': 'same-site', 'sec-fetch-mode': 'no-cors' }), 403);
    assert.equal(await statusOf({ 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate' }, 'POST'), 403);
  });

  test('ends with its time, and what is open with it', async (context) => {
    const harness = await openPortHarness(context);
    const { path, auth } = expose(harness, 60);
    harness.serve((_request, response) => response.write('and so on'));
    const answer = await startRequest(harness, { path: `${path}/`, headers: auth });
    const content = assert.rejects(buffer(answer));
    await harness.clock.advance(59_999);
    assert.equal(harness.machine().guest.connections.count, 1);
    await harness.clock.advance(1);
    await content;
    assert.equal((await ask(harness, `${path}/`, auth)).status, 401);
  });

  test('ends with its port, and with its session', async (context) => {
    const harness = await openEcho(context);
    const second = expose(harness);
    harness.ports.close(harness.tenant, harness.session.id, harness.id as never);
    assert.equal((await ask(harness, `${harness.path}/`, harness.auth)).status, 401);
    assert.equal((await ask(harness, `${second.path}/`, second.auth)).status, 200);
    await harness.session.terminate();
    assert.equal((await ask(harness, `${second.path}/`, second.auth)).status, 401);
    assert.throws(() => harness.ports.expose(harness.tenant, harness.session.id, { port: 1 }), {
      code: 'session_ended',
    });
  });
});
