import assert from 'node:assert/strict';
import { chmod, mkdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { type CliResult, type TestServer, callCli, describeBothWays, makeFolder, startTestServer } from './run-cli.ts';

// oxlint-disable-next-line typescript/no-explicit-any -- documents, looked at member by member
function documentOf({ exitCode, stdout, stderr }: CliResult): any {
  assert.equal(exitCode, 0, stderr + stdout);
  return JSON.parse(stdout);
}

const errorOf = ({ stdout }: CliResult): string => JSON.parse(stdout).error.code;

const alone = { concurrency: 1 };

describeBothWays(
  'tenants and keys',
  ({ callCli: call }) => {
    it('are made, listed, changed, rotated, revoked and deleted', async () => {
      await using folder = await makeFolder();
      const env = { BULKHEAD_STATE_DIR: join(folder.path, 'state') };
      // oxlint-disable-next-line typescript/no-explicit-any -- as above
      const ask = async (...args: readonly string[]): Promise<any> =>
        documentOf(await call([...args, '--json'], { env }));
      const tenant = await ask(
        'tenant',
        'create',
        'acme',
        '--machines',
        '7',
        '--disk',
        'unlimited',
        '--retention',
        '5',
      );
      assert.deepEqual(
        [tenant.name, tenant.quotas.machines, tenant.quotas.diskMib, tenant.retentionDays],
        ['acme', 7, 1_000_000_000, 5],
      );
      assert.deepEqual((await ask('tenant', 'show', tenant.id)).id, tenant.id);
      const changed = await ask('tenant', 'update', tenant.id, '--machines', '8', '--minimum-tier', 'vm-kvm');
      assert.deepEqual([changed.quotas.machines, changed.minimumTier, changed.retentionDays], [8, 'vm-kvm', 5]);
      assert.equal((await ask('tenant', 'update', tenant.id, '--minimum-tier', 'none')).minimumTier, null);
      assert.ok((await ask('tenant', 'list')).some(({ id }: { readonly id: string }) => id === tenant.id));

      const key = await ask('key', 'create', 'ci', '--tenant', tenant.id, '--role', 'viewer', '--expires', '90d');
      assert.match(key.secret, /^bh_/);
      assert.deepEqual(key.scopes, ['sessions:read', 'sessions:any', 'tenant:read', 'authority:read']);
      const days = (Date.parse(key.expiresAt) - Date.now()) / 86_400_000;
      assert.ok(days > 89.9 && days < 90.1);
      const narrow = ['--scope', 'sessions:read', '--scope', 'sessions:write', '--subject', 'bot'];
      const scoped = await ask('key', 'create', 'bot', '--tenant', tenant.id, ...narrow);
      assert.deepEqual([scoped.scopes, scoped.subject], [['sessions:read', 'sessions:write'], 'bot']);
      const rotated = await ask('key', 'rotate', key.id, '--tenant', tenant.id, '--grace', '0');
      assert.notEqual(rotated.secret, key.secret);
      const keys = await ask('key', 'list', '--tenant', tenant.id);
      assert.equal(keys.length, 2);
      assert.ok(
        keys.every((listed: object) => !('secret' in listed)),
        'secrets are shown once',
      );
      assert.notEqual((await ask('key', 'revoke', key.id, '--tenant', tenant.id)).revokedAt, null);
      assert.notEqual((await ask('key', 'show', key.id, '--tenant', tenant.id)).revokedAt, null);

      assert.deepEqual(await ask('tenant', 'delete', tenant.id), { deleted: tenant.id });
      assert.equal(errorOf(await call(['tenant', 'show', tenant.id, '--json'], { env })), 'not_found');
    });

    it('are shown to people as well', async () => {
      await using folder = await makeFolder();
      const env = { BULKHEAD_STATE_DIR: join(folder.path, 'state') };
      const { stdout } = await call(['tenant', 'create', 'people'], { env });
      const id = /^id +(ten_\S+)$/m.exec(stdout)?.[1] ?? '';
      assert.match(stdout, /^name +people$/m);
      assert.match((await call(['tenant', 'list'], { env })).stdout, new RegExp(`^${id} +people +\\d`, 'm'));
      const made = await call(['key', 'create', 'k', '--tenant', id, '--role', 'developer'], { env });
      assert.match(made.stdout, /^secret +bh_\S+$/m);
      assert.match((await call(['key', 'list', '--tenant', id], { env })).stdout, /sessions:read sessions:write/);
    });

    it('are refused with what to do when something is wrong', async () => {
      await using folder = await makeFolder();
      const env = { BULKHEAD_STATE_DIR: join(folder.path, 'state') };
      for (const [args, expected] of [
        [['tenant'], /create, list, show/],
        [['tenant', 'creat', 'x'], /bulkhead tenant create/],
        [['tenant', 'create', 'Not A Name'], /name/],
        [['tenant', 'create', 'x', '--machines', 'many'], /whole number/],
        [['tenant', 'create', 'x', '--minimum-tier', 'vm'], /vm-kvm/],
        [['tenant', 'show', 'acme'], /bulkhead tenant list/],
        [['key', 'create', 'x', '--role', 'develper'], /Did you mean developer/],
        [['key', 'create', 'x', '--role', 'admin', '--scope', 'keys:read'], /not both/],
        [['key', 'create', 'x', '--tenant', `ten_${'1'.repeat(26)}`], /--role/],
        [['key', 'create', 'x', '--role', 'viewer', '--expires', 'yesterday'], /90d/],
        [['key', 'rotate', 'x'], /bulkhead key list/],
      ] as const) {
        const { exitCode, stderr, stdout } = await call(args, { env });
        assert.deepEqual([exitCode, stdout], [2, ''], args.join(' ') + stderr);
        assert.match(stderr, expected);
      }
    });
  },
  alone,
);

describe('which server is asked', () => {
  let running: TestServer | undefined;
  before(async () => {
    running = await startTestServer();
  });
  after(async () => {
    await running?.[Symbol.asyncDispose]();
  });
  const server = (): TestServer => running ?? assert.fail('the server runs');

  it('is none where none is named, logged in to or running', async () => {
    await using folder = await makeFolder();
    const caller = documentOf(await callCli(['whoami', '--json'], { cwd: folder.path }));
    assert.deepEqual([caller.server, caller.subject, caller.key], [null, 'local', null]);
    assert.ok(caller.scopes.includes('installation:admin'));
  });

  it('is the one of the login, whose key only its owner can read', async () => {
    await using folder = await makeFolder();
    const {
      env: { BULKHEAD_URL: url = '' },
      apiKey,
    } = server();
    const call = (args: readonly string[], input = ''): Promise<CliResult> =>
      callCli(args, { cwd: folder.path, input });
    const caller = documentOf(await call(['login', url, '--json'], `${apiKey}\n`));
    assert.deepEqual([caller.server, caller.subject], [url, 'admin']);
    const path = join(folder.path, '.local/state/bulkhead/login.json');
    assert.equal((await stat(path)).mode & 0o777, 0o600);
    assert.deepEqual(JSON.parse(await readFile(path, 'utf8')), { url, apiKey });

    assert.equal(documentOf(await call(['whoami', '--json'])).server, url);
    assert.equal((await call(['run', 'print(6*7)'])).stdout, '42\n');
    const here = await callCli(['whoami', '--json', '--server', 'none'], { cwd: folder.path });
    assert.equal(documentOf(here).server, null);

    const key = documentOf(await call(['key', 'create', 'mine', '--role', 'developer', '--json']));
    assert.equal(key.tenant, undefined);
    assert.equal(documentOf(await call(['key', 'list', '--json'])).length, 2);

    assert.equal((await call(['logout'])).stdout, `Logged out of ${url}.\n`);
    await assert.rejects(stat(path), { code: 'ENOENT' });
    assert.equal(documentOf(await call(['whoami', '--json'])).server, null);
    assert.equal((await call(['logout'])).exitCode, 0);
  });

  it('is kept only when it takes the key; the key is shown nowhere', async () => {
    await using folder = await makeFolder();
    const { BULKHEAD_URL: url = '' } = server().env;
    for (const [args, input, code] of [
      [[url], 'bh_wrong\n', 'unauthenticated'],
      [[url], '', 'invalid_request'],
      [[url], 'two words\n', 'invalid_request'],
      [['http://127.0.0.1:1'], 'bh_any\n', 'server_unreachable'],
      [['http://bulkhead.example.com'], 'bh_any\n', 'invalid_request'],
      [['nonsense'], 'bh_any\n', 'invalid_request'],
      [[], 'bh_any\n', 'invalid_request'],
    ] as const) {
      const result = await callCli(['login', ...args, '--json'], { cwd: folder.path, input });
      assert.equal(errorOf(result), code, args.join(' ') + input);
      if (input !== '') assert.ok(!(result.stdout + result.stderr).includes(input.trim()));
    }
    await assert.rejects(stat(join(folder.path, '.local/state/bulkhead/login.json')), { code: 'ENOENT' });
  });

  it('gets no key that was given for another', async () => {
    await using folder = await makeFolder();
    const {
      env: { BULKHEAD_URL: url = '' },
      apiKey,
    } = server();
    const seen: (string | undefined)[] = [];
    const other = createServer((request, response) => {
      seen.push(request.headers.authorization);
      response.writeHead(401).end();
    });
    await new Promise<void>((resolve) => void other.listen(0, '127.0.0.1', resolve));
    try {
      await callCli(['login', url], { cwd: folder.path, input: apiKey });
      const elsewhere = `http://127.0.0.1:${(other.address() as AddressInfo).port}`;
      const refused = await callCli(['whoami', '--server', elsewhere, '--json'], { cwd: folder.path });
      assert.equal(errorOf(refused), 'unauthenticated');
      assert.deepEqual(seen, []);
      const named = await callCli(['whoami', '--json'], { cwd: folder.path, env: { BULKHEAD_URL: elsewhere } });
      assert.equal(errorOf(named), 'unauthenticated');
      assert.deepEqual(seen, []);
      const env = { BULKHEAD_API_KEY: 'bh_for_the_other' };
      await callCli(['whoami', '--server', elsewhere, '--json'], { cwd: folder.path, env });
      assert.deepEqual(seen, ['Bearer bh_for_the_other'], 'the control: a key that was meant is sent');
    } finally {
      other.closeAllConnections();
      other.close();
    }
  });

  it('is one that runs on this host, asked as its owner, and none when it has stopped or was killed', async () => {
    const {
      stateDir,
      env: { BULKHEAD_URL: url = '' },
    } = server();
    const env = { BULKHEAD_STATE_DIR: stateDir };
    const caller = documentOf(await callCli(['whoami', '--json'], { env }));
    assert.deepEqual([caller.server, caller.subject, caller.tenant], [url, 'local', `ten_${'0'.repeat(26)}`]);
    assert.equal((await stat(join(stateDir, 'server.json'))).mode & 0o777, 0o600);
    const made = documentOf(await callCli(['session', 'create', '--json'], { env }));
    assert.equal(made.state, 'ready', 'it goes on, on the server');
    const turn = documentOf(await callCli(['run', '--session', made.id, '--json', 'print(1)'], { env }));
    assert.equal(turn.stdout, '1\n');
    documentOf(await callCli(['session', 'terminate', made.id, '--json'], { env }));
    assert.match((await callCli(['key', 'list'], { env })).stderr, /--tenant ID/);

    const own = await readFile(join(stateDir, 'server.json'), 'utf8');
    const { credential } = JSON.parse(own);
    const refused = await fetch(`${url}/v1/caller`, { headers: { authorization: `Bearer ${credential}x` } });
    assert.equal(refused.status, 401);

    await using folder = await makeFolder();
    const dead = { ...JSON.parse(own), owner: '1-1' };
    await mkdir(join(folder.path, 's'), { mode: 0o700 });
    await writeFile(join(folder.path, 's', 'server.json'), JSON.stringify(dead), { mode: 0o600 });
    const later = await callCli(['whoami', '--json'], { env: { BULKHEAD_STATE_DIR: join(folder.path, 's') } });
    assert.equal(documentOf(later).server, null, 'what a dead one left does not count');

    const stopped = await startTestServer();
    const file = join(stopped.stateDir, 'server.json');
    await stat(file);
    await stopped.server.close();
    await assert.rejects(stat(file), { code: 'ENOENT' });
    await stopped[Symbol.asyncDispose]();
  });

  it('is not taken from a file that somebody else could have written or can read', async () => {
    await using folder = await makeFolder();
    const stateDir = join(folder.path, 'state');
    await mkdir(stateDir, { mode: 0o700 });
    const login = join(stateDir, 'login.json');
    const env = { BULKHEAD_STATE_DIR: stateDir };
    await writeFile(login, JSON.stringify({ url: server().env['BULKHEAD_URL'], apiKey: server().apiKey }), {
      mode: 0o600,
    });
    assert.equal(
      documentOf(await callCli(['whoami', '--json'], { env })).server,
      server().env['BULKHEAD_URL'],
      'the control',
    );
    await chmod(login, 0o644);
    const readable = await callCli(['whoami', '--json'], { env });
    assert.equal(errorOf(readable), 'config_invalid');
    assert.match(readable.stdout, /others may read it/);
    await callCli(['logout'], { env });
    await symlink('/etc/hostname', login);
    assert.match((await callCli(['whoami', '--json'], { env })).stdout, /it is a link/);
  });
});
