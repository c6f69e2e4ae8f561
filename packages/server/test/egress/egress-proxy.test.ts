// What a session reaches through its proxy, and what it does not: each refusal beside the same thing done right, and what has reached the receiver.

import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { after, before, test } from 'node:test';
import {
  type Receiver,
  type Way,
  askPlain,
  askTls,
  askTunnel,
  hasOpenssl,
  makeCertificate,
  openReceiver,
  openWay,
  readAll,
  resolverOf,
} from './outside.ts';
import { helloMessage, realHello, records } from './hellos.ts';
import { eventually } from './eventually.ts';

const skip = hasOpenssl ? false : 'there is no openssl here to make a certificate';
const names = ['a.example.com', 'b.example.com'];
const loopback = ['127.0.0.1/32'];
let certificate: ReturnType<typeof makeCertificate>;
let secure: Receiver;
let plain: Receiver;

before(async () => {
  if (skip !== false) return;
  certificate = makeCertificate(names);
  secure = await openReceiver(certificate);
  plain = await openReceiver(undefined, (incoming, response) => {
    if (incoming.url === '/redirect') response.writeHead(302, { location: 'http://b.example.com/' }).end();
    else if (incoming.url?.startsWith('/bytes/') === true)
      response.end(Buffer.alloc(Number(incoming.url.slice(7)), 'x'));
    else incoming.pipe(response);
  });
});
after(async () => {
  await secure?.[Symbol.asyncDispose]();
  await plain?.[Symbol.asyncDispose]();
});

const resolver = resolverOf({ 'a.example.com': ['127.0.0.1'], 'b.example.com': ['127.0.0.1'] });
const web = (change: object = {}): Record<string, unknown> => ({
  hosts: ['a.example.com'],
  port: secure.port,
  addresses: loopback,
  ...change,
});
const site = (change: object = {}): Record<string, unknown> => ({
  ...web({ scheme: 'http', port: plain.port }),
  ...change,
});
const get = (target: string, host: string, more = ''): string =>
  `GET ${target} HTTP/1.1\r\nHost: ${host}\r\n${more}Connection: close\r\n\r\n`;

/** Runs what must not reach anybody. */
async function reachesNobody(run: () => Promise<unknown>): Promise<void> {
  const seen = [secure.seen.bytes, plain.seen.bytes];
  await run();
  assert.deepEqual([secure.seen.bytes, plain.seen.bytes], seen, 'nothing has reached a receiver');
}

async function last(way: Way) {
  await eventually(
    'the record is complete',
    () => way.log.all.at(-1)?.outcome !== 'allow' || way.log.all.at(-1)?.error !== undefined,
  );
  return way.log.all.at(-1);
}

test('a session that was granted no rule has no proxy', { skip }, async () => {
  await using poor = await openWay({ web: web() }, resolver, { grant: ['other.connect'] });
  assert.equal(poor.isOpen, false);
  await using rich = await openWay({ web: web() }, resolver, { grant: ['web.*'] });
  assert.equal(rich.isOpen, true);
});

test(
  'TLS to the host that was granted goes through untouched, and is on record with what it carried',
  { skip },
  async () => {
    await using way = await openWay({ web: web() }, resolver);
    const answer = await askTls(way, `a.example.com:${secure.port}`, { ca: certificate.cert });
    assert.match(answer ?? '', /^HTTP\/1\.1 200 .*hello from outside$/s);
    const record = await last(way);
    assert.deepEqual(
      [record?.action, record?.outcome, record?.context, record?.error],
      ['web.connect', 'allow', { host: 'a.example.com', port: secure.port, scheme: 'https' }, null],
    );
    assert.ok((record?.transferred?.sentBytes ?? 0) > 200 && (record?.transferred?.receivedBytes ?? 0) > 500);
    // Upper case is the same name, and TLS 1.2 the same protocol.
    assert.ok(await askTls(way, `A.Example.COM:${secure.port}`, { ca: certificate.cert, servername: 'a.example.com' }));
    assert.ok(await askTls(way, `a.example.com:${secure.port}`, { ca: certificate.cert, maxVersion: 'TLSv1.2' }));
  },
);

test('a server that wants a second ClientHello gets it', { skip }, async () => {
  await using choosy = await openReceiver({ ...certificate, curves: 'P-384' });
  await using way = await openWay({ web: web({ port: choosy.port }) }, resolver);
  const asked = { ca: certificate.cert, ecdhCurve: 'P-256:P-384', minVersion: 'TLSv1.3' };
  assert.match((await askTls(way, `a.example.com:${choosy.port}`, asked)) ?? '', /hello from outside$/);
});

test('what a tunnel may not lead to is refused before anything is looked up', { skip }, async () => {
  await using way = await openWay({ web: web({ hosts: ['a.example.com', '*.wild.example.com'] }) }, resolver);
  const { port } = secure;
  assert.equal((await askTunnel(way, `a.example.com:${port}`)).status, 200);
  const asked = resolver.asked.length;
  const refused = [
    `b.example.com:${port}`,
    `evil-a.example.com:${port}`,
    `a.example.com.evil.org:${port}`,
    `x.a.example.com:${port}`,
    `example.com:${port}`,
    `wild.example.com:${port}`,
    `evil-wild.example.com:${port}`,
    `x.y.wild.example.com:${port}`,
    'a.example.com:22',
    `a.example.com:${plain.port}`,
    `a.example.com.:${port}`,
    `xn--a.example.com:${port}`,
    `127.0.0.1:${port}`,
    `2130706433:${port}`,
    `0x7f000001:${port}`,
    `0177.0.0.1:${port}`,
    `127.1:${port}`,
    `[::1]:${port}`,
    `[::ffff:127.0.0.1]:${port}`,
    '169.254.169.254:80',
    '2852039166:80',
    '0xa9fea9fe:80',
    '0251.0376.0251.0376:80',
    '[::ffff:169.254.169.254]:80',
    '[fd00:ec2::254]:80',
    '[fe80::1%25eth0]:80',
    `localhost:${port}`,
    'a.example.com',
    `user@a.example.com:${port}`,
    `a.example.com%2f:${port}`,
  ];
  await reachesNobody(async () => {
    for (const target of refused) {
      const known = way.log.all.length;
      const { status, head } = await askTunnel(way, target);
      assert.ok(status === 403, `${target}: ${head}`);
      const record = way.log.all.at(-1);
      assert.equal(way.log.all.length, known + 1, target);
      assert.deepEqual([record?.action, record?.outcome], ['web.connect', 'deny'], target);
      assert.match(head, new RegExp(`bulkhead-decision: ${record?.id}`, 'i'));
    }
  });
  assert.equal(resolver.asked.length, asked, 'none of them was looked up');
});

test('a name with an address that is not public is refused, whatever else it has', { skip }, async () => {
  const leading = {
    'metadata.example.com': ['169.254.169.254'],
    'mapped.example.com': ['::ffff:169.254.169.254'],
    'aws.example.com': ['fd00:ec2::254'],
    'private.example.com': ['10.0.0.1'],
    'mixed.example.com': ['93.184.215.14', '192.168.1.1'],
    'host.example.com': ['127.0.0.1'],
    'host6.example.com': ['::1'],
    'translated.example.com': ['64:ff9b::7f00:1'],
    'many.example.com': Array.from({ length: 65 }, () => '127.0.0.1'),
  };
  const hosts = Object.keys(leading);
  await using way = await openWay({ web: web({ hosts, addresses: [] }) }, resolverOf(leading));
  await reachesNobody(async () => {
    for (const host of hosts) {
      const { status, head } = await askTunnel(way, `${host}:${secure.port}`);
      assert.equal(status, 502, host);
      assert.match(head, /proxy-status: bulkhead; error=destination_ip_prohibited/, host);
      assert.equal((await last(way))?.error, 'egress_blocked', host);
    }
  });
  // Where the network is named, the same name leads there; what hands out credentials it never leads to.
  await way.change({ web: web({ hosts, addresses: ['0.0.0.0/0', '::/0'] }) });
  assert.equal((await askTunnel(way, `host.example.com:${secure.port}`)).status, 200);
  for (const host of ['metadata.example.com', 'mapped.example.com', 'aws.example.com', 'translated.example.com']) {
    assert.equal((await askTunnel(way, `${host}:${secure.port}`)).status, 502, host);
  }
});

test('a name that changes its mind between the look and the connection changes nothing', { skip }, async () => {
  // The first answer is looked at and used; whoever looks again would be led to the receiver.
  let looks = 0;
  const rebinding = resolverOf({ 'a.example.com': () => (looks++ === 0 ? ['127.0.0.2'] : ['127.0.0.1']) });
  await using way = await openWay({ web: web({ addresses: ['127.0.0.2/32'] }) }, rebinding);
  await reachesNobody(async () => {
    assert.equal((await askTunnel(way, `a.example.com:${secure.port}`)).status, 502, 'nobody is there');
    assert.equal(looks, 1);
    assert.equal((await askTunnel(way, `a.example.com:${secure.port}`)).status, 502, 'now it leads where it may not');
    assert.match((await last(way))?.error ?? '', /egress_blocked/);
  });
  await way.change({ web: web() });
  assert.equal((await askTunnel(way, `a.example.com:${secure.port}`)).status, 200);
});

test('what is said on a port of TLS has to be TLS, to the host that was granted', { skip }, async () => {
  await using way = await openWay({ web: web() }, resolver);
  const target = `a.example.com:${secure.port}`;
  assert.ok(await askTls(way, target, { ca: certificate.cert }));
  const said: Readonly<Record<string, Buffer>> = {
    'another name': await realHello({ servername: 'b.example.com' }),
    'no name': await realHello({}),
    'no extensions': records(helloMessage({})),
    HTTP: Buffer.from('GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n'),
    SSH: Buffer.from('SSH-2.0-OpenSSH_9.2\r\n'),
  };
  await reachesNobody(async () => {
    for (const [what, bytes] of Object.entries(said)) {
      const { client, status } = await askTunnel(way, target);
      assert.equal(status, 200);
      client.write(bytes);
      assert.equal(await readAll(client), '', what);
      assert.equal((await last(way))?.error, 'egress_blocked', what);
    }
  });
});

test('requests without TLS are read, decided one by one, and written anew', { skip }, async () => {
  await using way = await openWay({ site: site({ methods: ['GET', 'POST'] }) }, resolver);
  const url = `http://a.example.com:${plain.port}`;
  const host = `a.example.com:${plain.port}`;
  const posted = await askPlain(
    way,
    `POST ${url}/echo?a=1 HTTP/1.1\r\nHost: ${host}\r\nProxy-Authorization: x\r\nConnection: close, x-hop\r\nX-Hop: 1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n`,
  );
  assert.match(posted, /^HTTP\/1\.1 200 OK.*hello/s);
  assert.equal(plain.requests.at(-1), `POST ${host} /echo?a=1`);
  assert.deepEqual((await last(way))?.context, {
    host: 'a.example.com',
    port: plain.port,
    scheme: 'http',
    method: 'POST',
  });

  // One connection, three requests: each is decided.
  const client = way.connect();
  const seen = way.log.all.length;
  client.write(`GET ${url}/one HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
  await eventually(
    'the first is answered',
    () => plain.requests.at(-1) === `GET ${host} /one` && way.log.all.at(-1)?.error === null,
  );
  client.write(`GET http://b.example.com:${plain.port}/ HTTP/1.1\r\nHost: b.example.com:${plain.port}\r\n\r\n`);
  const answers = await readAll(client);
  assert.match(answers, /^HTTP\/1\.1 200 OK.*HTTP\/1\.1 403 Forbidden.*tool_denied/s);
  assert.deepEqual(
    way.log.all.slice(seen).map(({ outcome, reason }) => [outcome, reason]),
    [
      ['allow', 'policy'],
      ['deny', 'grant'],
    ],
  );
  assert.equal(plain.requests.at(-1), `GET ${host} /one`);

  // A redirect is an answer like any other; where it leads is another request.
  assert.match(await askPlain(way, get(`${url}/redirect`, host)), /302 Found.*location: http:\/\/b\.example\.com\//is);
  assert.match(await askPlain(way, get('http://b.example.com/', 'b.example.com')), /^HTTP\/1\.1 403/);
});

test('a request that says two things, or something else than was granted, reaches nobody', { skip }, async () => {
  await using way = await openWay({ site: site() }, resolver);
  const [host, url] = [`a.example.com:${plain.port}`, `http://a.example.com:${plain.port}/`];
  assert.match(await askPlain(way, get(url, host)), /^HTTP\/1\.1 200/);
  const refused: Readonly<Record<string, string>> = {
    'another Host': get(url, `b.example.com:${plain.port}`),
    'a Host of another port': get(url, 'a.example.com'),
    'two Hosts': get(url, host, `Host: b.example.com:${plain.port}\r\n`),
    'no Host': `GET ${url} HTTP/1.0\r\n\r\n`,
    'no Host in HTTP/1.1': `GET ${url} HTTP/1.1\r\nConnection: close\r\n\r\n`,
    'a relative target': get('/', host),
    'https in the clear': get(`https://a.example.com:${plain.port}/`, host),
    'a user in the target': get(`http://a.example.com@b.example.com:${plain.port}/`, host),
    'an address': get(`http://127.0.0.1:${plain.port}/`, `127.0.0.1:${plain.port}`),
    'a method that was not granted': `DELETE ${url} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`,
    'a method of nobody': `PROPFIND ${url} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`,
    'two lengths': get(url, host, 'Content-Length: 5\r\nContent-Length: 6\r\n'),
    'a length and chunks': get(url, host, 'Content-Length: 5\r\nTransfer-Encoding: chunked\r\n'),
    'chunks in disguise': get(url, host, 'Transfer-Encoding: gzip, chunked\r\n'),
    'a folded header': get(url, host, 'X: a\r\n b\r\n'),
    'too much of it': get(url, host, `X: ${'x'.repeat(20_000)}\r\n`),
    'no HTTP': '\x16\x03\x01 hello\r\n\r\n',
    'a tunnel': `CONNECT a.example.com:${plain.port} HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
  };
  await reachesNobody(async () => {
    for (const [what, request] of Object.entries(refused)) {
      const known = way.log.all.length;
      const answer = await askPlain(way, request);
      assert.doesNotMatch(answer, /^HTTP\/1\.1 2/, `${what}: ${answer}`);
      assert.equal(way.log.all.length, known + 1, what);
      assert.notEqual((await last(way))?.error, null, what);
    }
  });
});

test('a request hidden in another does not come out as one', { skip }, async () => {
  await using way = await openWay({ site: site() }, resolver);
  const [host, url] = [`a.example.com:${plain.port}`, `http://a.example.com:${plain.port}/`];
  const hidden = `GET http://b.example.com/hidden HTTP/1.1\r\nHost: b.example.com\r\n\r\n`;
  const count = plain.requests.length;
  const body = await askPlain(way, get(url, host, `Content-Length: ${hidden.length}\r\n`) + hidden);
  assert.match(body, /hidden/, 'it came as the body that it is');
  assert.equal(plain.requests.length, count + 1);
  // Named in Connection, a length would be left out: ours is written all the same.
  const dropped = `GET ${url} HTTP/1.1\r\nHost: ${host}\r\nConnection: close, content-length, host\r\nContent-Length: ${hidden.length}\r\n\r\n${hidden}`;
  assert.match(await askPlain(way, dropped), /hidden/);
  assert.equal(plain.requests.length, count + 2);
  // Behind a request, before its answer, it ends the connection.
  await askPlain(way, `GET ${url}one HTTP/1.1\r\nHost: ${host}\r\n\r\n${hidden}`);
  assert.ok(plain.requests.every((request) => !request.includes('b.example.com')));
});

test('policies decide on host, port, scheme and method, and what is tightened counts at once', { skip }, async () => {
  const policies = `
    @id("reads") permit(principal, action == Bulkhead::Action::"site.connect", resource in Bulkhead::Host::"example.com") when { context has method && context.method == "GET" };
    @id("not-b") forbid(principal, action, resource == Bulkhead::Host::"b.example.com");`;
  const rules = { site: site({ hosts: names, methods: ['GET', 'POST'] }) };
  await using way = await openWay(rules, resolver, { policies });
  const ask = async (name: string, method: string): Promise<string> => {
    const host = `${name}:${plain.port}`;
    return (
      await askPlain(way, `${method} http://${host}/ HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)
    ).slice(9, 12);
  };
  assert.equal(await ask('a.example.com', 'GET'), '200');
  assert.equal(await ask('a.example.com', 'POST'), '403');
  assert.equal(await ask('b.example.com', 'GET'), '403');
  assert.deepEqual(
    way.log.all.map(({ outcome, reason }) => `${outcome} ${reason}`),
    ['allow policy', 'deny no_policy', 'deny policy'],
  );
  await way.change(rules, '');
  assert.equal(await ask('a.example.com', 'GET'), '403');
});

test('a rule that does not allow it does not stand in the way of one that does', { skip }, async () => {
  const policies = '@id("b") permit(principal, action == Bulkhead::Action::"b.connect", resource);';
  await using way = await openWay({ a: web(), b: web() }, resolver, { policies });
  assert.ok(await askTls(way, `a.example.com:${secure.port}`, { ca: certificate.cert }));
  assert.deepEqual(
    way.log.all.map(({ action, outcome }) => `${action} ${outcome}`),
    ['b.connect allow'],
  );
});

test(
  'bytes are counted both ways, over all connections of a session, and no more than may goes',
  { skip },
  async () => {
    const bytesMax = 1_000_000;
    await using way = await openWay({ site: site({ bytesMax, methods: ['GET', 'POST'] }) }, resolver);
    const host = `a.example.com:${plain.port}`;
    const start = plain.seen.bytes;
    const client = way.connect();
    client.write(`POST http://${host}/echo HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 10000000\r\n\r\n`);
    const sending = pipeline(Readable.from(Array.from({ length: 200 }, () => Buffer.alloc(50_000, 'x'))), client).catch(
      () => undefined,
    );
    await readAll(client);
    client.destroy();
    await sending;
    const record = await last(way);
    assert.equal(record?.error, 'limit_exceeded');
    const carried = (record?.transferred?.sentBytes ?? 0) + (record?.transferred?.receivedBytes ?? 0);
    assert.ok(carried <= bytesMax && carried > bytesMax / 2, `${carried}`);
    await eventually('some of it has arrived', () => plain.seen.bytes - start > 50_000);

    // Small pieces use up the rest; then nothing goes any more.
    const statuses = new Set<string>();
    for (let n = 0; n < 40 && !statuses.has('403'); n++) {
      statuses.add((await askPlain(way, get(`http://${host}/bytes/40000`, host))).slice(9, 12));
    }
    assert.ok(statuses.has('403'), [...statuses].join());
    const total = await way.log.transferred(undefined, 'site.connect');
    assert.ok(total <= bytesMax && plain.seen.bytes - start <= bytesMax, `${total}`);
  },
);

test('what does not fit into the budget is not sent in part', { skip }, async () => {
  await using way = await openWay({ site: site({ bytesMax: 1024 }) }, resolver);
  const host = `a.example.com:${plain.port}`;
  await reachesNobody(async () => {
    const answer = await askPlain(way, get(`http://${host}/`, host, `X: ${'x'.repeat(2000)}\r\n`));
    assert.match(answer, /^HTTP\/1\.1 403 .*limit_exceeded/s);
  });
  assert.match(await askPlain(way, get(`http://${host}/`, host)), /^HTTP\/1\.1 200/);
});

test('what a server sends is cut at the budget too', { skip }, async () => {
  await using way = await openWay({ site: site({ bytesMax: 1_000_000 }) }, resolver);
  const host = `a.example.com:${plain.port}`;
  assert.ok((await askPlain(way, get(`http://${host}/bytes/100000`, host))).length > 100_000);
  assert.ok((await askPlain(way, get(`http://${host}/bytes/10000000`, host))).length < 1_000_000);
  assert.equal((await last(way))?.error, 'limit_exceeded');
});

test('connections are as many as may be, and end when nothing moves or their time is over', { skip }, async () => {
  await using way = await openWay({ web: web({ connectionsMaxCount: 2, idleMs: 300 }) }, resolver);
  const target = `a.example.com:${secure.port}`;
  const [one, two] = [await askTunnel(way, target), await askTunnel(way, target)];
  assert.deepEqual([one.status, two.status], [200, 200]);
  const three = await askTunnel(way, target);
  assert.equal(three.status, 503);
  assert.equal((await last(way))?.error, 'too_many_connections');
  await Promise.all([readAll(one.client), readAll(two.client)]);
  await eventually('both are over', () => way.log.all.filter(({ error }) => error === 'tool_timeout').length === 2);
  assert.equal((await askTunnel(way, target)).status, 200);

  await way.change({ web: web({ connectionMs: 200 }) });
  const began = performance.now();
  const { client } = await askTunnel(way, target);
  await readAll(client);
  assert.ok(performance.now() - began < 5000);
  assert.equal((await last(way))?.error, 'tool_timeout');
});

test('a session that asks without end is slowed down, and then turned away', { skip }, async () => {
  await using way = await openWay({ web: web() }, resolver);
  const began = performance.now();
  const asked = Array.from({ length: 400 }, () => askTunnel(way, 'b.example.com:443'));
  const statuses = (await Promise.all(asked)).map(({ status }) => status);
  const tookMs = performance.now() - began;
  const refused = statuses.filter((status) => status === 403).length;
  assert.equal(refused, way.log.all.length, 'what was refused is on record');
  assert.equal(statuses.filter((status) => status === 503).length, 400 - refused);
  assert.ok(refused >= 264 && refused <= 200 + 64 + (tookMs / 1000) * 50 + 1, `${refused} in ${tookMs} ms`);
  assert.equal((await askTunnel(way, `a.example.com:${secure.port}`)).status, 200, 'and is let in again');
});

test('a client that leaves takes its connection with it', { skip }, async () => {
  await using way = await openWay({ web: web() }, resolver);
  const { client } = await askTunnel(way, `a.example.com:${secure.port}`);
  client.destroy();
  assert.equal((await last(way))?.error, null);
});
