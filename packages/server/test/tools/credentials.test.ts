// Credentials that are made for a session, and secrets that are kept elsewhere.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { CreateSecretCommand, PutSecretValueCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { BulkheadError, makeId } from '@bulkhead/protocol';
import { AssumedRole, type AssumedRoleOptions } from '../../src/authority/credentials/assumed-role.ts';
import { SecretReferences } from '../../src/authority/credentials/secret-reference.ts';
import { writeSessionPolicy } from '../../src/authority/credentials/session-policy.ts';
import { SteppedClock } from '../../src/runtimes/fake/stepped-clock.ts';
import { startMoto } from './object-servers.ts';

interface FakeSts extends AsyncDisposable {
  readonly url: string;
  /** Of each request: its parameters. */
  readonly asked: URLSearchParams[];
  fails: boolean;
}

/** An STS on loopback that gives out keys with numbers, as long as was asked for. */
async function startSts(nowMs: () => number): Promise<FakeSts> {
  const asked: URLSearchParams[] = [];
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      const parameters = new URLSearchParams(body);
      asked.push(parameters);
      if (sts.fails) {
        response
          .writeHead(403)
          .end(
            '<ErrorResponse><Error><Code>AccessDenied</Code><Message>canary arn:aws:iam::1:role/r</Message></Error></ErrorResponse>',
          );
        return;
      }
      const expires = new Date(nowMs() + Number(parameters.get('DurationSeconds')) * 1000).toISOString();
      response.end(
        `<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>key${asked.length}</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>token</SessionToken><Expiration>${expires}</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`,
      );
    });
  });
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  const sts: FakeSts = {
    url: `http://127.0.0.1:${address.port}`,
    asked,
    fails: false,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => void server.close(resolve));
    },
  };
  return sts;
}

const holder = { tenant: makeId('tenant'), session: makeId('session'), subject: 'agent', granted: ['get'] };

function role(sts: FakeSts, clock: SteppedClock, change: Partial<AssumedRoleOptions> = {}): AssumedRole {
  return new AssumedRole({
    roleArn: 'arn:aws:iam::123456789012:role/sessions',
    durationSeconds: 900,
    region: 'us-east-1',
    endpoint: sts.url,
    identity: () => Promise.resolve({ accessKeyId: 'base', secretAccessKey: 'canary-of-a-base' }),
    policyOf: ({ granted }) =>
      writeSessionPolicy({
        partition: 'aws',
        bucket: 'b-1',
        prefix: 'acme',
        operations: granted.includes('get') ? ['get'] : ['put'],
      }),
    clock,
    ...change,
  });
}

test('the session’s keys say whose they are and what they may, and are asked for once', async () => {
  const clock = new SteppedClock();
  await using sts = await startSts(() => clock.unixMs());
  const source = role(sts, clock, { externalId: () => Promise.resolve('outside') });
  const [first, second] = await Promise.all([source.keysFor(holder, 1000), source.keysFor(holder, 1000)]);
  assert.equal(first.accessKeyId, 'key1');
  assert.deepEqual(second, first, 'two calls at once make one');
  assert.equal(sts.asked.length, 1);
  const [asked] = sts.asked;
  assert.ok(asked);
  const { Version: _, ...said } = Object.fromEntries(asked);
  assert.deepEqual(said, {
    Action: 'AssumeRole',
    RoleArn: 'arn:aws:iam::123456789012:role/sessions',
    RoleSessionName: holder.session,
    DurationSeconds: '900',
    ExternalId: 'outside',
    Policy:
      '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:GetObject"],"Resource":"arn:aws:s3:::b-1/acme/*"}]}',
    'Tags.member.1.Key': 'tenant',
    'Tags.member.1.Value': holder.tenant,
    'Tags.member.2.Key': 'session',
    'Tags.member.2.Value': holder.session,
    'Tags.member.3.Key': 'subject',
    'Tags.member.3.Value': 'agent',
  });
  // Another session, other rights, a subject that a tag cannot hold: keys of their own.
  assert.equal((await source.keysFor({ ...holder, session: makeId('session') }, 1000)).accessKeyId, 'key2');
  assert.equal((await source.keysFor({ ...holder, granted: ['put'] }, 1000)).accessKeyId, 'key3');
  assert.equal((await source.keysFor({ ...holder, subject: 'a#b' }, 1000)).accessKeyId, 'key4');
  assert.match(sts.asked[3]?.get('Tags.member.3.Value') ?? '', /^sha256:[0-9a-f]{64}$/);
});

test('keys are made anew before they end, and dropped with their session', async () => {
  const clock = new SteppedClock();
  await using sts = await startSts(() => clock.unixMs());
  const source = role(sts, clock);
  const next = async (validForMs = 60_000): Promise<string> => (await source.keysFor(holder, validForMs)).accessKeyId;
  assert.equal(await next(), 'key1');
  await clock.advance(800_000);
  assert.equal(await next(), 'key1', 'it lasts 100 s more');
  await clock.advance(20_000);
  assert.equal(await next(), 'key2', 'it lasts 80 s more, which is too short for a call of 60 s');
  assert.equal(await next(10_000_000), 'key2', 'nobody gets new ones each time by asking for more than there is');
  source.forget(makeId('session'));
  assert.equal(await next(), 'key2');
  source.forget(holder.session);
  assert.equal(await next(), 'key3');
});

test('a role that assumes a role asks for an hour at most', async () => {
  const clock = new SteppedClock();
  await using sts = await startSts(() => clock.unixMs());
  const chained = { accessKeyId: 'base', secretAccessKey: 'x', sessionToken: 'token' };
  await role(sts, clock, { durationSeconds: 7200 }).keysFor(holder, 1000);
  await role(sts, clock, { durationSeconds: 7200, identity: () => Promise.resolve(chained) }).keysFor(holder, 1000);
  assert.deepEqual(
    sts.asked.map((asked) => asked.get('DurationSeconds')),
    ['7200', '3600'],
  );
});

test('a refusal of STS says nothing of roles, and is not remembered', async () => {
  const clock = new SteppedClock();
  await using sts = await startSts(() => clock.unixMs());
  const source = role(sts, clock);
  sts.fails = true;
  const error: unknown = await source.keysFor(holder, 1000).catch((failure: unknown) => failure);
  assert.ok(BulkheadError.is(error, 'tool_failed'));
  assert.ok(!JSON.stringify(error).includes('canary') && !JSON.stringify(error).includes('arn:'));
  sts.fails = false;
  assert.match((await source.keysFor(holder, 1000)).accessKeyId, /^key/);
});

test('a secret may stand for one in Secrets Manager', async () => {
  await using moto = await startMoto();
  const clock = new SteppedClock();
  const credentials = { accessKeyId: moto.accessKeyId, secretAccessKey: moto.secretAccessKey };
  const manager = new SecretsManagerClient({ endpoint: moto.url, region: 'eu-central-1', credentials });
  const { ARN: plain = '' } = await manager.send(
    new CreateSecretCommand({ Name: 'db/acme', SecretString: 'canary-1' }),
  );
  const { ARN: object = '' } = await manager.send(
    new CreateSecretCommand({ Name: 'object', SecretString: JSON.stringify({ password: 'canary-2', port: 5432 }) }),
  );
  const references = new SecretReferences({ clock, client: { endpoint: moto.url, credentials } });
  assert.equal(await references.resolve('a password'), 'a password');
  assert.equal(await references.resolve('arn: not one'), 'arn: not one');
  assert.equal(await references.resolve(plain), 'canary-1');
  assert.equal(await references.resolve(`${object}#password`), 'canary-2');
  for (const wrong of [`${object}#port`, `${object}#nothing`, `${plain}#password`, `${plain.slice(0, -6)}nobody`]) {
    const error: unknown = await references.resolve(wrong).catch((failure: unknown) => failure);
    assert.ok(BulkheadError.is(error, 'tool_failed'), wrong);
    assert.ok(!JSON.stringify(error).includes('canary') && !String(error.cause).includes('canary'));
  }
  await manager.send(new PutSecretValueCommand({ SecretId: plain, SecretString: 'canary-3' }));
  assert.equal(await references.resolve(plain), 'canary-1');
  await clock.advance(60_000);
  assert.equal(await references.resolve(plain), 'canary-3', 'a minute later at most');
  manager.destroy();
});
