// Who asks: keys and tokens, good ones and all the others. Two servers on one database.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type Server as HttpServer, createServer } from 'node:http';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { BulkheadError, type Scope, type TenantId, makeId, roles } from '@bulkhead/protocol';
import { type CryptoKey, SignJWT, exportJWK, exportSPKI, generateKeyPair } from 'jose';
import { localTenant } from '../../src/tenants/local-tenant.ts';
import { RateLimits } from '../../src/tenants/rate-limits.ts';
import { SteppedClock } from '../../src/runtimes/fake/stepped-clock.ts';
import { type Installation, type Server, callerOf, newTenant, openInstallation } from './servers.ts';

let installation: Installation;
let provider: HttpServer;
let issuer: string;
let keySet = '';
let fetches = 0;
let one: Server;
let two: Server;
let tenant: TenantId;

before(async () => {
  provider = createServer((_request, response) => {
    fetches += 1;
    response.end(keySet);
  }).listen(0, '127.0.0.1');
  await once(provider, 'listening');
  const address = provider.address();
  assert.ok(typeof address === 'object' && address !== null);
  issuer = `http://127.0.0.1:${address.port}`;
  installation = await openInstallation();
  const oidc = {
    BULKHEAD_OIDC_ISSUER: issuer,
    BULKHEAD_OIDC_AUDIENCE: 'bulkhead',
    BULKHEAD_OIDC_JWKS_URL: `${issuer}/keys`,
  };
  one = await installation.start('one', { ...oidc, BULKHEAD_OIDC_ROLES_CLAIM: 'realm.roles' });
  two = await installation.start('two');
  tenant = await newTenant(one);
});
after(async () => {
  provider.close();
  await Promise.all([one[Symbol.asyncDispose](), two[Symbol.asyncDispose]()]);
  await installation[Symbol.asyncDispose]();
});

/** The error, which is the same whatever was wrong. */
async function refused(server: Server, authorization: string | undefined): Promise<void> {
  await assert.rejects(
    server.tenancy.access.authenticate(authorization),
    (error: unknown) => {
      assert.ok(error instanceof BulkheadError);
      assert.deepEqual(error.toJSON(), {
        code: 'unauthenticated',
        message: 'The request has no credential that is valid.',
        hint: 'Send `Authorization: Bearer KEY`.',
      });
      return true;
    },
    authorization,
  );
}

async function eventually(what: string, holds: () => Promise<boolean>, withinMs: number): Promise<void> {
  for (const deadline = performance.now() + withinMs; !(await holds()); await delay(20)) {
    assert.ok(performance.now() < deadline, what);
  }
}

const works = ({ tenancy }: Server, secret: string): Promise<boolean> =>
  tenancy.access.authenticate(`Bearer ${secret}`).then(
    () => true,
    () => false,
  );

test('a key is its caller, on every server; its secret is in no row and no list', async () => {
  const { key, secret } = await one.tenancy.keys.create(callerOf(tenant), tenant, {
    name: 'ci',
    subject: 'robot',
    scopes: ['sessions:write', 'sessions:read'],
  });
  assert.match(secret, /^bh_[0-9a-z]{26}_[A-Za-z0-9_-]{49}$/);
  for (const server of [one, two]) {
    const caller = await server.tenancy.access.authenticate(`Bearer ${secret}`);
    assert.deepEqual(
      { ...caller, scopes: [...caller.scopes] },
      { tenant, subject: 'robot', scopes: ['sessions:read', 'sessions:write'], key: key.id },
    );
  }
  const told = JSON.stringify([await two.tenancy.keys.list(tenant), await two.tenancy.keys.get(tenant, key.id)]);
  assert.ok(told.includes(key.id) && !told.includes(secret.slice(30)));
  await eventually(
    'its use is written down',
    async () => (await two.tenancy.keys.get(tenant, key.id)).lastUsedAtUnixMs !== null,
    2000,
  );
  await assert.rejects(one.tenancy.keys.get(makeId('tenant'), key.id), { code: 'not_found' });
});

test('whatever is no key is refused in the same words', async () => {
  const { secret } = await one.tenancy.keys.create(callerOf(tenant), tenant, { name: 'x', scopes: [] });
  const expired = await one.tenancy.keys.create(callerOf(tenant), tenant, {
    name: 'x',
    scopes: [],
    expiresAtUnixMs: Date.now() + 50,
  });
  await delay(60);
  const typo = secret.slice(0, 40) + (secret[40] === 'a' ? 'b' : 'a') + secret.slice(41);
  const wrong = [undefined, '', 'Bearer', 'Bearer ', `Basic ${secret}`, secret, `Bearer ${secret} x`, `Bearer ${typo}`];
  wrong.push(
    `Bearer ${secret.slice(0, -1)}`,
    `Bearer ${secret}a`,
    `Bearer ${secret.toUpperCase()}`,
    `Bearer bh_${'0'.repeat(26)}_`,
  );
  wrong.push(
    `Bearer ${expired.secret}`,
    `Bearer ${'a'.repeat(100_000)}`,
    'Bearer a.b.c',
    'Bearer \u0000',
    `Bearer ${makeId('key')}`,
  );
  for (const each of wrong) await refused(one, each);
  assert.ok(await works(one, secret), 'the control');
});

test('a key that is revoked ends at once here and within two seconds elsewhere', async () => {
  const { key, secret } = await one.tenancy.keys.create(callerOf(tenant), tenant, { name: 'x', scopes: [] });
  assert.ok((await works(one, secret)) && (await works(two, secret)));
  const revoked = await one.tenancy.keys.revoke(tenant, key.id);
  await refused(one, `Bearer ${secret}`);
  await eventually('it ends elsewhere', async () => !(await works(two, secret)), 2000);
  assert.equal((await one.tenancy.keys.revoke(tenant, key.id)).revokedAtUnixMs, revoked.revokedAtUnixMs);
  await assert.rejects(one.tenancy.keys.rotate(callerOf(tenant), tenant, key.id, 0), { code: 'state_conflict' });
});

test('a key is rotated without a gap: both secrets work for the grace, then the new one alone', async () => {
  const first = await one.tenancy.keys.create(callerOf(tenant), tenant, { name: 'x', scopes: ['sessions:read'] });
  const second = await one.tenancy.keys.rotate(callerOf(tenant), tenant, first.key.id, 1);
  assert.equal(second.key.id, first.key.id);
  assert.ok(await works(one, first.secret));
  assert.ok(await works(one, second.secret));
  await eventually('the old one ends', async () => !(await works(one, first.secret)), 3000);
  assert.ok(await works(two, second.secret));
  const third = await one.tenancy.keys.rotate(callerOf(tenant), tenant, first.key.id, 600);
  await one.tenancy.keys.revoke(tenant, first.key.id);
  for (const { secret } of [first, second, third]) await refused(one, `Bearer ${secret}`);
  const races = await Promise.allSettled(
    Array.from({ length: 4 }, async () => {
      const { key } = await one.tenancy.keys.create(callerOf(tenant), tenant, { name: 'x', scopes: [] });
      return await Promise.allSettled([1, 2].map(() => one.tenancy.keys.rotate(callerOf(tenant), tenant, key.id, 0)));
    }),
  );
  for (const race of races) assert.equal(race.status, 'fulfilled', 'two rotations at once: neither breaks');
});

test('nobody hands out more than they have', async () => {
  const developer = callerOf(tenant, { subject: 'dev', scopes: ['keys:write', 'sessions:read'] });
  const make = (request: { scopes: Scope[]; subject?: string }, of = tenant): Promise<unknown> =>
    one.tenancy.keys.create(developer, of, { name: 'x', ...request });
  await make({ scopes: ['sessions:read'] });
  await assert.rejects(make({ scopes: ['sessions:write'] }), {
    code: 'forbidden',
    details: { scope: 'sessions:write' },
  });
  await assert.rejects(make({ scopes: ['installation:admin'] }), { code: 'forbidden' });
  await assert.rejects(make({ scopes: [], subject: 'boss' }), {
    code: 'forbidden',
    details: { scope: 'sessions:any' },
  });
  await assert.rejects(make({ scopes: [] }, await newTenant(one)), {
    code: 'forbidden',
    details: { scope: 'installation:admin' },
  });
  const admins = await one.tenancy.keys.create(callerOf(tenant), tenant, { name: 'x', scopes: [...roles.admin] });
  await assert.rejects(one.tenancy.keys.rotate(developer, tenant, admins.key.id, 0), { code: 'forbidden' });
  for (const request of [
    { name: '' },
    { name: 'a\nb' },
    { name: 'x', subject: 'a b' },
    { name: 'x', expiresAtUnixMs: 1 },
  ]) {
    await assert.rejects(one.tenancy.keys.create(callerOf(tenant), tenant, { scopes: [], ...request }), {
      code: 'invalid_request',
    });
  }
});

interface TokenOptions {
  readonly claims?: Record<string, unknown>;
  readonly audience?: string;
  readonly issuer?: string;
  readonly expiresIn?: number;
  readonly notBefore?: number;
  readonly kid?: string;
  readonly alg?: string;
  readonly key?: CryptoKey | Uint8Array;
}

test('a token of the provider is its caller, and no other token is', async () => {
  const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true });
  const stranger = await generateKeyPair('ES256');
  keySet = JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid: 'k1', alg: 'ES256', use: 'sig' }] });
  const now = Math.floor(Date.now() / 1000);
  const sign = async (options: TokenOptions = {}): Promise<string> => {
    const { claims = {}, expiresIn = 60, alg = 'ES256', kid = 'k1', notBefore } = options;
    const jwt = new SignJWT({
      tenant,
      realm: { roles: ['developer', 'unheard-of'] },
      scope: 'tenant:read installation:admin openid',
      ...claims,
    })
      .setProtectedHeader({ alg, kid })
      .setIssuer(options.issuer ?? issuer)
      .setAudience(options.audience ?? 'bulkhead');
    if (!('sub' in claims)) jwt.setSubject('user-1');
    if (expiresIn !== Number.POSITIVE_INFINITY) jwt.setExpirationTime(now + expiresIn);
    if (notBefore !== undefined) jwt.setNotBefore(now + notBefore);
    return await jwt.sign(options.key ?? privateKey);
  };
  const fetched = fetches;
  for (let round = 0; round < 20; round += 1) await one.tenancy.access.authenticate(`Bearer ${await sign()}`);
  assert.equal(fetches - fetched, 1, 'the keys are fetched once');
  const caller = await one.tenancy.access.authenticate(`Bearer ${await sign()}`);
  assert.deepEqual(
    { ...caller, scopes: [...caller.scopes] },
    { tenant, subject: 'user-1', scopes: ['sessions:read', 'sessions:write', 'tenant:read'], key: null },
  );
  const { name } = await one.tenancy.tenants.get(tenant);
  const byName = await sign({ claims: { tenant: name } });
  assert.equal((await one.tenancy.access.authenticate(`Bearer ${byName}`)).tenant, tenant);
  const closed = await newTenant(one);
  const disable = { subject: { name: 'user-2', disabled: true } };
  await one.keeping.store.authority.change(closed, undefined, disable, () => undefined);
  const { name: closedName } = await one.tenancy.tenants.get(closed);
  for (const named of [closed, closedName]) {
    const theirs = async (sub: string): Promise<string> => `Bearer ${await sign({ claims: { tenant: named, sub } })}`;
    await refused(one, await theirs('user-2'));
    assert.equal((await one.tenancy.access.authenticate(await theirs('user-1'))).tenant, closed);
  }
  const tolerated = await sign({ expiresIn: -5 });
  assert.equal((await one.tenancy.access.authenticate(`Bearer ${tolerated}`)).tenant, tenant);
  const gone = await newTenant(one);
  await one.tenancy.tenants.delete(gone);
  const [header, payload, signature] = (await sign()).split('.');
  const pem = new TextEncoder().encode(await exportSPKI(publicKey));
  const none = Buffer.from(JSON.stringify({ alg: 'none' })).toString('base64url');
  const other = Buffer.from(JSON.stringify({ iss: issuer, aud: 'bulkhead', sub: 'x', tenant, exp: now + 60 })).toString(
    'base64url',
  );
  const wrong = [
    await sign({ issuer: 'https://evil.example' }),
    await sign({ audience: 'somebody-else' }),
    await sign({ expiresIn: -60 }),
    await sign({ expiresIn: Number.POSITIVE_INFINITY }),
    await sign({ notBefore: 120 }),
    await sign({ kid: 'k2' }),
    await sign({ key: stranger.privateKey }),
    await sign({ alg: 'HS256', key: pem }),
    await sign({ claims: { tenant: makeId('tenant') } }),
    await sign({ claims: { tenant: 'no-such-name' } }),
    await sign({ claims: { tenant: gone } }),
    await sign({ claims: { tenant: localTenant } }),
    await sign({ claims: { tenant: ['a'] } }),
    await sign({ claims: { sub: '' } }),
    await sign({ claims: { sub: 'a b' } }),
    await sign({ claims: { sub: 'x'.repeat(1000) } }),
    `${none}.${payload}.`,
    `${header}.${other}.${signature}`,
    `${header}.${payload}.${signature}x`,
    `${header}.${payload}`,
  ];
  for (const token of wrong) await refused(one, `Bearer ${token}`);
  await refused(two, `Bearer ${await sign()}`);
});

test('a tenant has its rate, and what it may do at once; another has its own', async () => {
  const clock = new SteppedClock();
  const rates = new RateLimits(clock);
  const other = await newTenant(one);
  for (let request = 0; request < 30; request += 1) rates.take(tenant, 10);
  assert.throws(() => rates.take(tenant, 10), { code: 'rate_limited', details: { maximum: 10, retryAfterMs: 100 } });
  rates.take(other, 10);
  await clock.advance(100);
  rates.take(tenant, 10);
  assert.throws(() => rates.take(tenant, 10), { code: 'rate_limited' });
  const limited = await newTenant(one, { requestsPerSecond: 0 });
  await assert.rejects(one.tenancy.access.spend(callerOf(limited)), { code: 'rate_limited' });
  await one.tenancy.access.spend(callerOf(other));
});
