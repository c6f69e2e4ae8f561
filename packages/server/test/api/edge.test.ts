// What stands between the network and the routes: TLS, pages of other origins, headers, the probes.

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { request as httpsRequest } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { connect as tlsConnect } from 'node:tls';
import { ask, expectStatus, startService, until } from './harness.ts';

const skip = spawnSync('openssl', ['version']).status === 0 ? false : 'there is no openssl here to make a certificate';
const root = mkdtempSync(join(tmpdir(), 'bulkhead-edge-'));
after(() => rmSync(root, { recursive: true }));

function makeCertificate(name: string): { readonly cert: string; readonly key: string } {
  const [cert, key] = [join(root, `${name}.crt`), join(root, `${name}.key`)];
  const subject = ['-subj', '/CN=bulkhead-test', '-addext', 'subjectAltName=IP:127.0.0.1'];
  const made = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '1'];
  execFileSync('openssl', [...made, '-keyout', key, '-out', cert, ...subject], { stdio: 'ignore' });
  return { cert, key };
}

test('with a certificate it speaks TLS 1.2 or later and nothing else', { skip }, async () => {
  const { cert, key } = makeCertificate('server');
  const environment = { BULKHEAD_TLS_CERT: cert, BULKHEAD_TLS_KEY: key };
  await using service = await startService({ environment });
  assert.match(service.url, /^https:/);
  const { port } = new URL(service.url);
  const ca = readFileSync(cert);
  const answer = await new Promise<{ readonly status: number | undefined; readonly transport: unknown }>(
    (resolve, reject) => {
      const sent = httpsRequest(`${service.url}/healthz`, { ca }, (response) => {
        response
          .resume()
          .once('end', () =>
            resolve({ status: response.statusCode, transport: response.headers['strict-transport-security'] }),
          );
      });
      sent.once('error', reject).end();
    },
  );
  assert.deepEqual(answer, { status: 200, transport: 'max-age=31536000' });
  await assert.rejects(ask(`http://127.0.0.1:${port}`, 'GET', '/healthz'), 'in the clear there is nothing');
  const old = tlsConnect({ port: Number(port), host: '127.0.0.1', ca, maxVersion: 'TLSv1.1', minVersion: 'TLSv1' });
  await assert.rejects(
    new Promise((resolve, reject) => void old.once('secureConnect', resolve).once('error', reject)),
    'an old version is refused',
  );
});

test('a certificate that cannot be used is told before anything listens', { skip }, async () => {
  const [one, two] = [makeCertificate('one'), makeCertificate('two')];
  for (const files of [
    { cert: one.cert, key: two.key },
    { cert: join(root, 'missing'), key: one.key },
  ]) {
    const environment = { BULKHEAD_TLS_CERT: files.cert, BULKHEAD_TLS_KEY: files.key };
    await assert.rejects(startService({ environment }), { code: 'config_invalid' });
  }
});

test('pages of other origins may ask only where that is configured', async () => {
  const origin = 'https://app.example.com';
  const preflight = {
    origin,
    'access-control-request-method': 'POST',
    'access-control-request-headers': 'authorization',
  };
  {
    await using closed = await startService();
    const answer = await closed.call('OPTIONS', '/v1/sessions', { headers: preflight });
    assert.equal(answer.status, 405);
    for (const { headers } of [answer, await closed.call('GET', '/healthz', { headers: { origin } })]) {
      assert.equal(headers.get('access-control-allow-origin'), null);
    }
  }
  await using open = await startService({ environment: { BULKHEAD_CORS_ORIGINS: `${origin},http://localhost:3000` } });
  const allowed = await open.call('OPTIONS', '/v1/sessions', { headers: preflight });
  assert.equal(allowed.status, 204);
  assert.equal(allowed.headers.get('access-control-allow-origin'), origin);
  assert.match(allowed.headers.get('access-control-allow-headers') ?? '', /authorization/);
  assert.equal(allowed.headers.get('access-control-allow-credentials'), null);
  const asked = await open.call('GET', '/v1/caller', { key: open.admin.secret, headers: { origin } });
  assert.equal(asked.headers.get('access-control-allow-origin'), origin);
  assert.match(asked.headers.get('access-control-expose-headers') ?? '', /etag/);
  for (const other of ['https://evil.example.com', 'null', `${origin}.evil.com`, 'https://app.example.com:444']) {
    const refused = await open.call('OPTIONS', '/v1/sessions', { headers: { ...preflight, origin: other } });
    assert.equal(refused.headers.get('access-control-allow-origin'), null, other);
  }
});

test('every answer keeps a browser from making more of it than it is', async () => {
  await using service = await startService();
  const session = expectStatus(
    await service.call('POST', '/v1/sessions', { key: service.admin.secret, body: {} }),
    201,
  ).id;
  const file = `/v1/sessions/${session}/files/content?path=page.html`;
  await service.call('PUT', file, {
    key: service.admin.secret,
    body: '<script>alert(1)</script>',
    headers: { 'content-type': 'text/html' },
  });
  for (const path of ['/healthz', '/v1/nothing', '/v1/caller', file]) {
    const { headers } = await service.call('GET', path, { key: service.admin.secret });
    assert.equal(headers.get('x-content-type-options'), 'nosniff', path);
    assert.match(headers.get('content-security-policy') ?? '', /default-src 'none'/, path);
    assert.equal(headers.get('cache-control'), 'no-store', path);
  }
  const { headers } = await service.call('GET', file, { key: service.admin.secret });
  assert.equal(headers.get('content-type'), 'application/octet-stream');
  assert.equal(headers.get('content-disposition'), 'attachment');
});

test('it says whether it is ready, and what it runs on, to anybody and to callers', async () => {
  await using service = await startService();
  await service.server.ready;
  assert.deepEqual(expectStatus(await service.call('GET', '/readyz'), 200), { status: 'ready', reasons: [] });
  const key = service.admin.secret;
  assert.equal(expectStatus(await service.call('GET', '/v1/runtimes', { key }), 200).items[0].runtime, 'fake');
  assert.deepEqual(expectStatus(await service.call('GET', '/v1/templates', { key }), 200), {
    items: [],
    nextCursor: null,
  });
  assert.equal(expectStatus(await service.call('GET', '/v1/openapi.json'), 200).openapi, '3.1.1');
  const closing = service.server.close();
  await until(async () => {
    try {
      return (await service.call('GET', '/readyz')).status === 503;
    } catch {
      return true; // it listens no more
    }
  }, 'it is not ready any more');
  await closing;
});
