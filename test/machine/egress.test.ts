// Guest code that reaches the network through the proxy of its session: on real machines, with clients that people use. Every server is on loopback, and
// names lead there by a resolver of this test.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type Language, type SessionId, type TenantId, makeId, toolSettingsSchema } from '@bulkhead/protocol';
import { type Bulkhead, Sessions, loadConfig, openBulkhead, systemClock } from '@bulkhead/server';
import { PolicyEngine } from '../../packages/server/src/authority/policy-engine.ts';
import { SessionEgress } from '../../packages/server/src/sessions/session-egress.ts';
import { attachAll } from '../../packages/server/src/sessions/session-tools.ts';
import { ToolCalls } from '../../packages/server/src/sessions/tool-calls.ts';
import { unbounded } from '../../packages/server/src/store/tenant-row.ts';
import {
  type Certificate,
  type Receiver,
  hasOpenssl,
  makeCertificate,
  openReceiver,
  resolverOf,
} from '../../packages/server/test/egress/outside.ts';
import { onEveryRuntime } from './support.ts';

const skip = hasOpenssl ? false : 'there is no openssl here to make a certificate';
const names = ['packages.example.com', 'data.example.com', 'other.example.com'];
const folder = mkdtempSync(join(tmpdir(), 'bulkhead-egress-'));
interface Archive {
  readonly name: string;
  readonly bytes: Buffer;
}

let certificate: Certificate;
let wheel: Archive;
let tarball: Archive;
let secure: Receiver;
let plain: Receiver;

before(async () => {
  if (skip !== false) return;
  certificate = makeCertificate(names);
  wheel = makeWheel();
  tarball = makeTarball();
  secure = await openReceiver(certificate, (incoming, response) => {
    if (incoming.url === '/simple/bulkhead-tiny/')
      response.setHeader('content-type', 'text/html').end(`<a href="/${wheel.name}">${wheel.name}</a>`);
    else if (incoming.url === `/${wheel.name}`) response.end(wheel.bytes);
    else if (incoming.url === '/bulkhead-tiny') response.setHeader('content-type', 'application/json').end(packument());
    else if (incoming.url === `/${tarball.name}`) response.end(tarball.bytes);
    else if (incoming.url === '/large') response.end(Buffer.alloc(3_000_000, 'x'));
    else response.end('hello over TLS');
  });
  plain = await openReceiver(undefined, (incoming, response) => {
    if (incoming.url === '/elsewhere')
      response.writeHead(302, { location: `http://other.example.com:${plain.port}/` }).end();
    else response.end('hello without TLS');
  });
});
after(async () => {
  await secure?.[Symbol.asyncDispose]();
  await plain?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

/** What an index of Python packages has: a module that says something. */
function makeWheel(): Archive {
  const name = 'bulkhead_tiny-1.0-py3-none-any.whl';
  const script = `
import sys, zipfile
info = "bulkhead_tiny-1.0.dist-info"
with zipfile.ZipFile(sys.argv[1], "w") as wheel:
    wheel.writestr("bulkhead_tiny.py", "said = 'installed from an index'\\n")
    wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: bulkhead-tiny\\nVersion: 1.0\\n")
    wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    wheel.writestr(f"{info}/RECORD", "bulkhead_tiny.py,,\\n" + "".join(f"{info}/{each},,\\n" for each in ("METADATA", "WHEEL", "RECORD")))
`;
  execFileSync('python3', ['-c', script, join(folder, name)]);
  return { name, bytes: readFileSync(join(folder, name)) };
}

/** What a registry of Node packages has. */
function makeTarball(): Archive {
  const name = 'bulkhead-tiny-1.0.0.tgz';
  mkdirSync(join(folder, 'package'));
  writeFileSync(join(folder, 'package', 'package.json'), '{ "name": "bulkhead-tiny", "version": "1.0.0" }');
  writeFileSync(join(folder, 'package', 'index.js'), "module.exports = 'installed from a registry';");
  execFileSync('tar', ['-czf', join(folder, name), '-C', folder, 'package']);
  return { name, bytes: readFileSync(join(folder, name)) };
}

function packument(): string {
  const integrity = `sha512-${createHash('sha512').update(tarball.bytes).digest('base64')}`;
  const dist = { tarball: `https://packages.example.com:${secure.port}/${tarball.name}`, integrity };
  const version = { name: 'bulkhead-tiny', version: '1.0.0', dist };
  return JSON.stringify({ name: 'bulkhead-tiny', 'dist-tags': { latest: '1.0.0' }, versions: { '1.0.0': version } });
}

await onEveryRuntime((runtime) => {
  const resolver = resolverOf(Object.fromEntries(names.map((name) => [name, ['127.0.0.1']])));
  const stateDir = mkdtempSync(join(tmpdir(), 'bulkhead-egress-state-'));
  let bulkhead: Bulkhead;
  let sessions: Sessions;
  let tenant: TenantId;

  before(async () => {
    if (skip !== false) return;
    bulkhead = await openBulkhead({ ...loadConfig(), runtime, stateDir }, { keep: true });
    await bulkhead.runtime.prepare('small', { onProgress: (message) => console.error(message) });
    const { keeping, authority } = bulkhead;
    assert.ok(keeping !== undefined && authority !== undefined);
    const decided = { engine: new PolicyEngine(), source: authority.tenants, log: authority.decisions };
    const options = { ...decided, clock: systemClock, region: 'here' };
    sessions = new Sessions({
      runtimes: bulkhead.runtimes,
      journal: keeping.journal,
      keeper: keeping.snapshots,
      tools: attachAll(new ToolCalls(options), new SessionEgress({ ...options, resolver })),
    });
    tenant = makeId('tenant');
    const row = { id: tenant, name: 'acme', quotas: unbounded, minimumTier: null, retentionDays: 30 };
    assert.ok(await keeping.store.tenants.insert({ ...row, createdAtUnixMs: Date.now() }));
    const rule = { kind: 'egress', description: 'somewhere', addresses: ['127.0.0.1/32'] };
    const packages = { ...rule, hosts: ['packages.example.com'], port: secure.port };
    const data = { ...rule, hosts: ['data.example.com'], scheme: 'http', port: plain.port, bytesMax: 100_000 };
    await authority.tenants.putTool(tenant, 'packages', toolSettingsSchema.parse(packages));
    await authority.tenants.putTool(tenant, 'data', toolSettingsSchema.parse(data));
    await authority.tenants.putPolicies(tenant, '@id("all") permit(principal, action, resource);');
  });
  after(async () => {
    await sessions?.[Symbol.asyncDispose]();
    await bulkhead?.[Symbol.asyncDispose]();
    rmSync(stateDir, { recursive: true, force: true });
  });

  async function run(id: SessionId, code: string, language: Language = 'python'): Promise<string> {
    const turn = await sessions.takeTurn(tenant, id, { code, language });
    const { stdout, stderr, exception } = await turn.result;
    return (stdout + stderr + (exception?.traceback ?? '')).trim();
  }

  async function create(grant: readonly string[]): Promise<SessionId> {
    const { id } = await sessions.createSession({ tenant, grant });
    await run(id, `open("ca.pem", "w").write(${JSON.stringify(certificate.cert)})`);
    return id;
  }

  const variables: Readonly<Record<Language, string>> = {
    python: 'import os; print(os.environ.get("https_proxy"), os.environ.get("HTTP_PROXY"), os.environ.get("no_proxy"))',
    bash: 'echo ${https_proxy-None} ${HTTP_PROXY-None} ${no_proxy-None}',
    javascript:
      'console.log(process.env.https_proxy ?? "None", process.env.HTTP_PROXY ?? "None", process.env.no_proxy ?? "None")',
  };

  test('the first turn of every language knows the proxy, where there is one', { skip }, async () => {
    const { id } = await sessions.createSession({ tenant, grant: ['packages.connect'] });
    const { id: poor } = await sessions.createSession({ tenant, grant: ['other.*'] });
    for (const language of ['python', 'bash', 'javascript'] as const) {
      const told = 'http://127.0.0.1:3128 http://127.0.0.1:3128 localhost,127.0.0.1,::1';
      assert.equal(await run(id, variables[language], language), told, language);
      assert.equal(await run(poor, variables[language], language), 'None None None', language);
    }
    assert.match(
      await run(poor, 'curl -sS --proxy http://127.0.0.1:3128 http://data.example.com/', 'bash'),
      /Failed to connect|Could not connect/i,
    );
  });

  test('clients reach what was granted, over TLS and without, and nothing else', { skip }, async () => {
    const id = await create(['packages.connect', 'data.connect']);
    const curl = async (url: string, more = ''): Promise<string> =>
      await run(id, `curl -sS --cacert ca.pem ${more} ${url} 2>&1; echo " $?"`, 'bash');
    assert.equal(await curl(`https://packages.example.com:${secure.port}/`), 'hello over TLS 0');
    assert.equal(await curl(`http://data.example.com:${plain.port}/`), 'hello without TLS 0');
    const requested = await run(
      id,
      `import requests; print(requests.get("https://packages.example.com:${secure.port}/", verify="ca.pem").text, requests.get("http://data.example.com:${plain.port}/").text, len(requests.get("https://packages.example.com:${secure.port}/large", verify="ca.pem").content))`,
    );
    assert.equal(requested, 'hello over TLS hello without TLS 3000000');
    const children = `const { execFileSync } = require('child_process'); console.log(execFileSync('curl', ['-sS', '--cacert', 'ca.pem', 'https://packages.example.com:${secure.port}/']).toString())`;
    assert.equal(await run(id, children, 'javascript'), 'hello over TLS');

    const seen = [secure.seen.bytes, plain.seen.bytes];
    const refused = [
      `https://other.example.com:${secure.port}/`,
      `https://packages.example.com:${plain.port}/`,
      `https://127.0.0.1:${secure.port}/`,
      `https://[::ffff:127.0.0.1]:${secure.port}/`,
      `http://packages.example.com:${secure.port}/`,
      `http://other.example.com:${plain.port}/`,
      'http://169.254.169.254/latest/meta-data/',
      'http://2852039166/latest/meta-data/',
      'http://0xa9fea9fe/latest/meta-data/',
      'http://[::ffff:169.254.169.254]/latest/meta-data/',
    ];
    // Curl does not send addresses of its own machine through a proxy; here it has to.
    for (const url of refused) assert.match(await curl(url, "--noproxy '' -f"), /403.* (22|56)$/s, url);
    assert.match(
      await curl(`https://packages.example.com:${secure.port}/`, '--connect-to ::other.example.com:'),
      /403.* 56$/s,
    );
    // A name of TLS unlike that of the tunnel.
    const fronted = `
import socket, ssl
raw = socket.create_connection(("127.0.0.1", 3128))
raw.sendall(b"CONNECT packages.example.com:${secure.port} HTTP/1.1\\r\\n\\r\\n")
print(raw.recv(100).split(b"\\r\\n")[0].decode())
try: ssl.create_default_context(cafile="ca.pem").wrap_socket(raw, server_hostname="other.example.com"); print("through")
except OSError as error: print("cut")`;
    assert.equal(await run(id, fronted), 'HTTP/1.1 200 Connection established\ncut');
    assert.deepEqual([secure.seen.bytes, plain.seen.bytes], seen, 'nothing of these has reached a receiver');
    // A redirect is followed by the client, and refused.
    assert.match(await curl(`http://data.example.com:${plain.port}/elsewhere`, '-L -f'), /403.* 22$/s);

    const { items } =
      (await bulkhead.authority?.decisions.list(tenant, { session: id }, { limit: 200 })) ?? assert.fail();
    assert.ok(items.filter(({ outcome }) => outcome === 'deny').length >= refused.length);
    assert.ok(
      items.some(
        ({ action, outcome, receivedBytes }) =>
          action === 'packages.connect' && outcome === 'allow' && (receivedBytes ?? 0) > 3_000_000,
      ),
    );
    assert.ok(
      items.some(({ error }) => error === 'egress_blocked'),
      'the name that was unlike',
    );
  });

  test('pip installs from an index, and what it installed can be used at once', { skip }, async () => {
    const id = await create(['packages.connect']);
    const said = await run(
      id,
      `pip install --disable-pip-version-check --no-cache-dir --cert ca.pem --index-url https://packages.example.com:${secure.port}/simple bulkhead-tiny 2>&1`,
      'bash',
    );
    assert.match(said, /Successfully installed bulkhead-tiny-1\.0/);
    assert.equal(await run(id, 'import bulkhead_tiny; print(bulkhead_tiny.said)'), 'installed from an index');
    assert.equal(
      await run(id, 'python3 -c "import bulkhead_tiny; print(bulkhead_tiny.said)"', 'bash'),
      'installed from an index',
    );
    const { id: poor } = await sessions.createSession({ tenant, grant: ['data.connect'] });
    await run(poor, `open("ca.pem", "w").write(${JSON.stringify(certificate.cert)})`);
    const refused = await run(
      poor,
      `pip install --retries 1 --cert ca.pem --index-url https://packages.example.com:${secure.port}/simple bulkhead-tiny 2>&1`,
      'bash',
    );
    assert.match(refused, /403 Forbidden/);
  });

  test('npm installs from a registry', { skip }, async () => {
    const id = await create(['packages.connect']);
    const said = await run(
      id,
      `npm install --no-audit --no-fund --no-update-notifier --cafile ca.pem --registry https://packages.example.com:${secure.port}/ bulkhead-tiny 2>&1`,
      'bash',
    );
    assert.match(said, /added 1 package/);
    assert.equal(await run(id, "console.log(require('bulkhead-tiny'))", 'javascript'), 'installed from a registry');
  });

  test('a session that has slept finds its way out again, and meets what was decided meanwhile', { skip }, async () => {
    const id = await create(['data.connect']);
    const get = `import urllib.request as r
try: print(r.urlopen("http://data.example.com:${plain.port}/").read().decode())
except Exception as error: print(error)`;
    assert.equal(await run(id, get), 'hello without TLS');
    // A connection that is open keeps nobody from sleeping, and does not outlive it.
    await run(id, 'import socket; open_one = socket.create_connection(("127.0.0.1", 3128))');
    await sessions.suspendSession(tenant, id);
    assert.equal(await run(id, get), 'hello without TLS');
    assert.equal(await run(id, 'print(open_one.recv(10))'), "b''");
    const [child] = await sessions.forkSession(tenant, id, 1, { grant: [] });
    assert.ok(child);
    assert.match(await run(child.id, get), /refused/);
    await sessions.suspendSession(tenant, id);
    const tenants = bulkhead.authority?.tenants ?? assert.fail();
    await tenants.putPolicies(
      tenant,
      '@id("none") forbid(principal, action == Bulkhead::Action::"data.connect", resource);',
    );
    assert.match(await run(id, get), /403/);
    await tenants.putPolicies(tenant, '@id("all") permit(principal, action, resource);');
    assert.equal(await run(id, get), 'hello without TLS', 'and what was given back counts as well');
  });
});
