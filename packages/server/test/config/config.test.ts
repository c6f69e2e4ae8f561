import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BulkheadError } from '@bulkhead/protocol';
import { type Environment, loadConfig } from '../../src/config/config.ts';

describe('the configuration', () => {
  it('has defaults for everything', () => {
    const config = loadConfig({ HOME: '/home/me' });
    assert.equal(config.cacheDir, '/home/me/.cache/bulkhead');
    assert.equal(config.stateDir, '/home/me/.local/state/bulkhead');
    assert.deepEqual(
      [config.accelerator, config.shareTemplatePages, config.runtime, config.color],
      ['auto', false, 'auto', true],
    );
  });

  it('prefers the more specific variable, and an empty one is none', () => {
    const env = { HOME: '/h', XDG_CACHE_HOME: '/x', BULKHEAD_CACHE_DIR: '' };
    assert.equal(loadConfig(env).cacheDir, '/x/bulkhead');
    assert.equal(loadConfig({ ...env, BULKHEAD_CACHE_DIR: '/c' }).cacheDir, '/c');
    assert.equal(loadConfig({ ...env, NO_COLOR: '1' }).color, false);
  });

  it('reports every problem at once', () => {
    const env = {
      HOME: '/h',
      BULKHEAD_ACCELERATOR: 'warp',
      BULKHEAD_CACHE_DIR: 'here',
      BULKHEAD_SHARE_TEMPLATE_PAGES: 'x',
    };
    assert.throws(
      () => loadConfig(env),
      (error) => {
        assert.ok(BulkheadError.is(error, 'config_invalid'));
        assert.deepEqual(error.details?.['problems'], [
          'BULKHEAD_CACHE_DIR: not valid (got "here", expected an absolute path)',
          'BULKHEAD_ACCELERATOR: not one of the allowed values (got "warp", expected auto, kvm, tcg)',
          'BULKHEAD_SHARE_TEMPLATE_PAGES: not one of the allowed values (got "x", expected 0, 1, false, true)',
        ]);
        return true;
      },
    );
  });

  it('refuses the fake runtime unless it is allowed as well', () => {
    assert.throws(() => loadConfig({ HOME: '/h', BULKHEAD_RUNTIME: 'fake' }), { code: 'config_invalid' });
    assert.equal(loadConfig({ HOME: '/h', BULKHEAD_RUNTIME: 'fake', BULKHEAD_ALLOW_FAKE: '1' }).runtime, 'fake');
  });

  it('needs to know where the cache is', () => {
    assert.throws(() => loadConfig({}), { code: 'config_invalid' });
    assert.equal(loadConfig({ XDG_CACHE_HOME: '/x' }).cacheDir, '/x/bulkhead');
  });

  it('listens on loopback, and beyond it only with TLS or where that is allowed', () => {
    const env = { HOME: '/h' };
    const { host, port, tls, corsOrigins, trustProxy } = loadConfig(env).server;
    assert.deepEqual([host, port, tls, corsOrigins, trustProxy], ['127.0.0.1', 8420, undefined, [], []]);
    for (const there of ['0.0.0.0', '::', '10.0.0.5', '::ffff:10.0.0.5']) {
      assert.throws(() => loadConfig({ ...env, BULKHEAD_HOST: there }), { code: 'config_invalid' }, there);
      assert.equal(loadConfig({ ...env, BULKHEAD_HOST: there, BULKHEAD_ALLOW_PLAIN_HTTP: '1' }).server.host, there);
    }
    for (const here of ['127.0.0.2', '::1'])
      assert.equal(loadConfig({ ...env, BULKHEAD_HOST: here }).server.host, here);
    assert.throws(() => loadConfig({ ...env, BULKHEAD_TLS_CERT: '/cert.pem' }), { code: 'config_invalid' });
    const withTls = { ...env, BULKHEAD_HOST: '0.0.0.0', BULKHEAD_TLS_CERT: '/cert.pem', BULKHEAD_TLS_KEY: '/key.pem' };
    assert.deepEqual(loadConfig(withTls).server.tls, { certFile: '/cert.pem', keyFile: '/key.pem' });
  });

  it('takes lists, and addresses without anything after them', () => {
    const { server } = loadConfig({
      HOME: '/h',
      BULKHEAD_TRUST_PROXY: '10.0.0.0/8, ::1',
      BULKHEAD_CORS_ORIGINS: 'https://app.example.com,http://localhost:3000',
      BULKHEAD_PEER_URL: 'http://10.0.0.5:8420/',
      BULKHEAD_DRAIN_SECONDS: '5',
    });
    assert.deepEqual(server.trustProxy, ['10.0.0.0/8', '::1']);
    assert.deepEqual(server.corsOrigins, ['https://app.example.com', 'http://localhost:3000']);
    assert.deepEqual([server.peerUrl, server.drainMs], ['http://10.0.0.5:8420', 5000]);
    const wrong: readonly Readonly<Record<string, string>>[] = [
      { BULKHEAD_TRUST_PROXY: '10.0.0.0/8,everybody' },
      { BULKHEAD_CORS_ORIGINS: '*' },
      { BULKHEAD_CORS_ORIGINS: 'https://app.example.com/path' },
      { BULKHEAD_PEER_URL: 'http://10.0.0.5/path' },
      { BULKHEAD_PEER_URL: 'http://user:secret@10.0.0.5' },
      { BULKHEAD_PUBLIC_URL: 'ftp://10.0.0.5' },
      { BULKHEAD_PORT: '65536' },
      { BULKHEAD_PORT: '1e3' },
      { BULKHEAD_HOST: 'localhost' },
    ];
    for (const env of wrong) {
      assert.throws(() => loadConfig({ HOME: '/h', ...env }), { code: 'config_invalid' }, JSON.stringify(env));
    }
  });
});

it('a provider is configured with all that it needs, over a connection that proves who it is, or not at all', () => {
  const home = { HOME: '/home/x' };
  const provider = {
    BULKHEAD_OIDC_ISSUER: 'https://id.example',
    BULKHEAD_OIDC_AUDIENCE: 'bulkhead',
    BULKHEAD_OIDC_JWKS_URL: 'https://id.example/keys',
  };
  assert.equal(loadConfig(home).oidc, undefined);
  assert.equal(loadConfig({ ...home, ...provider }).oidc?.subjectClaim, 'sub');
  for (const name of Object.keys(provider)) {
    const problems = problemsOf({ ...home, ...provider, [name]: '' });
    assert.ok(problems.length === 1 && problems[0]?.startsWith(`${name}: not set`), name);
  }
  const open = { ...home, ...provider, BULKHEAD_OIDC_JWKS_URL: 'http://id.example/keys' };
  assert.match(problemsOf(open).join(), /^BULKHEAD_OIDC_JWKS_URL: not valid/);
  assert.equal(loadConfig({ ...open, BULKHEAD_OIDC_JWKS_URL: 'http://127.0.0.1:9/keys' }).oidc?.audience, 'bulkhead');
});

it('quotas and retention have bounds', () => {
  const home = { HOME: '/home/x' };
  const set = {
    BULKHEAD_QUOTA_SESSIONS: 'unlimited',
    BULKHEAD_QUOTA_MACHINES: '0',
    BULKHEAD_TURN_RETENTION_DAYS: '3650',
  };
  const { quotas, retentionDays } = loadConfig({ ...home, ...set });
  assert.deepEqual([quotas.sessions, quotas.machines, retentionDays], [1_000_000_000, 0, 3650]);
  for (const [name, value] of [
    ['BULKHEAD_QUOTA_SESSIONS', '-1'],
    ['BULKHEAD_QUOTA_DISK_MIB', '1e3'],
    ['BULKHEAD_TURN_RETENTION_DAYS', '0'],
    ['BULKHEAD_TURN_RETENTION_DAYS', '3651'],
    ['BULKHEAD_OIDC_CLOCK_TOLERANCE_SECONDS', '1000'],
  ] as const) {
    assert.equal(problemsOf({ ...home, [name]: value }).length, 1, `${name}=${value}`);
  }
});

function problemsOf(environment: Environment): readonly string[] {
  try {
    loadConfig(environment);
    return [];
  } catch (error) {
    assert.ok(BulkheadError.is(error, 'config_invalid'));
    const { problems } = error.details as { readonly problems: readonly string[] };
    return problems;
  }
}
