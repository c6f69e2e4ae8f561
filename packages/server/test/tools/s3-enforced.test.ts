// Credentials of a session, used directly against a server that enforces what they are bound to: what they are worth if they got out.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import { AssumeRoleCommand, STSClient } from '@aws-sdk/client-sts';
import type { S3Operation } from '@bulkhead/protocol';
import { AssumedRole } from '../../src/authority/credentials/assumed-role.ts';
import { writeSessionPolicy } from '../../src/authority/credentials/session-policy.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { type ObjectServer, startEnforcing } from './object-servers.ts';
import {
  allOperations,
  bucket,
  bytesOf,
  call,
  context,
  fillBucket,
  openTool,
  roleOf,
  rootClient,
  s3Settings,
  valueOf,
} from './s3-support.ts';

let store: ObjectServer;
before(async () => {
  store = await startEnforcing();
  await fillBucket(store);
});
after(async () => {
  await store[Symbol.asyncDispose]();
});

const roleArn = 'arn:aws:iam::123456789012:role/sessions';

/** What comes of each, done with the keys of a session that was granted `granted` under `prefix`. */
async function outcomes(granted: readonly S3Operation[], prefix = 'acme'): Promise<Readonly<Record<string, string>>> {
  const { url, accessKeyId, secretAccessKey } = store;
  const role = new AssumedRole({
    roleArn,
    durationSeconds: 900,
    region: 'us-east-1',
    endpoint: url,
    identity: () => Promise.resolve({ accessKeyId, secretAccessKey }),
    policyOf: (holder) =>
      writeSessionPolicy({
        partition: 'aws',
        bucket,
        prefix,
        operations: allOperations.filter((operation) => holder.granted.includes(operation)),
      }),
    clock: systemClock,
  });
  const { tenant, session, subject } = context;
  const keys = await role.keysFor({ tenant, session, subject, granted }, 1000);
  const { sessionToken = '' } = keys;
  const credentials = { accessKeyId: keys.accessKeyId, secretAccessKey: keys.secretAccessKey, sessionToken };
  const client = new S3Client({ endpoint: url, region: 'us-east-1', forcePathStyle: true, credentials });
  const sts = new STSClient({ endpoint: url, region: 'us-east-1', credentials });
  const told: Record<string, string> = {};
  const attempt = async (name: string, send: () => Promise<unknown>): Promise<void> => {
    told[name] = await send().then(
      () => 'ok',
      (error: unknown) => String(Reflect.get(Object(error), 'name')),
    );
  };
  const at = (Key: string) => ({ Bucket: bucket, Key });
  await attempt('get', () => client.send(new GetObjectCommand(at('acme/prices/dax.csv'))));
  await attempt('get other', () => client.send(new GetObjectCommand(at('globex/prices/dax.csv'))));
  await attempt('get beside', () => client.send(new GetObjectCommand(at('acme-two/prices/dax.csv'))));
  await attempt('list', () => client.send(new ListObjectsV2Command({ Bucket: bucket, Prefix: 'acme/' })));
  await attempt('list all', () => client.send(new ListObjectsV2Command({ Bucket: bucket })));
  await attempt('list beside', () => client.send(new ListObjectsV2Command({ Bucket: bucket, Prefix: 'acme' })));
  await attempt('put', () => client.send(new PutObjectCommand({ ...at('acme/new'), Body: 'x' })));
  await attempt('put other', () => client.send(new PutObjectCommand({ ...at('globex/new'), Body: 'x' })));
  await attempt('delete', () => client.send(new DeleteObjectCommand(at('acme/new'))));
  await attempt('delete other', () => client.send(new DeleteObjectCommand(at('globex/prices/dax.csv'))));
  const again = new AssumeRoleCommand({ RoleArn: roleArn, RoleSessionName: 'again' });
  await attempt('assume the role again', () => sts.send(again));
  client.destroy();
  sts.destroy();
  return told;
}

test('what a session was granted works under its prefix; all else is AccessDenied', async () => {
  const outside = {
    'get other': 'AccessDenied',
    'get beside': 'AccessDenied',
    'list all': 'AccessDenied',
    'list beside': 'AccessDenied',
    'put other': 'AccessDenied',
    'delete other': 'AccessDenied',
    'assume the role again': 'AccessDenied',
  };
  assert.deepEqual(await outcomes(allOperations), { ...outside, get: 'ok', list: 'ok', put: 'ok', delete: 'ok' });
  const denied = 'AccessDenied';
  assert.deepEqual(await outcomes(['get', 'list']), { ...outside, get: 'ok', list: 'ok', put: denied, delete: denied });
  assert.deepEqual(await outcomes(['put']), { ...outside, get: denied, list: denied, put: 'ok', delete: denied });
  // The same can be done by who may do all of it, and by a session of the same role whose prefix it is.
  const root = rootClient(store);
  assert.ok((await root.send(new GetObjectCommand({ Bucket: bucket, Key: 'globex/prices/dax.csv' }))).Body);
  root.destroy();
  const { get, 'get other': getOther, 'delete other': deleteOther } = await outcomes(allOperations, 'globex');
  assert.deepEqual([get, getOther, deleteOther], [denied, 'ok', 'ok']);
});

test('the tool works with such keys, and a tool whose keys do not reach so far is told no', async () => {
  await using tool = await openTool(s3Settings(store.url, { credentials: roleOf(store) }), store.secretAccessKey);
  assert.equal((await bytesOf(call(tool, 'get', { key: 'prices/dax.csv' }))).toString(), 'DAX,1');
  await valueOf(call(tool, 'put', { key: 'once', text: 'first', if_absent: true }));
  await assert.rejects(call(tool, 'put', { key: 'once', text: 'second', if_absent: true }), { message: /already/ });
  await assert.rejects(call(tool, 'put', { key: 'twice', text: 'x' }, { granted: ['get'] }), {
    code: 'tool_failed',
    message: /does not allow/,
  });
  await assert.rejects(call(tool, 'head', { key: 'twice' }), { code: 'tool_failed' });
  const { url } = (await valueOf(call(tool, 'presign', { key: 'prices/dax.csv' }))) as { url: string };
  assert.equal(await (await fetch(url)).text(), 'DAX,1');
  assert.equal((await fetch(url.replace('/acme/', '/globex/'))).status, 403);
});
