// An object store of two tenants in one bucket, and tools of theirs: what tests of object stores share.

import { CreateBucketCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { type S3Settings, makeId, toolSettingsSchema } from '@bulkhead/protocol';
import assert from 'node:assert/strict';
import { parseArguments } from '../../src/authority/arguments.ts';
import { checkArguments } from '../../src/authority/parameters.ts';
import { openS3Tool } from '../../src/tools/s3/open-s3-tool.ts';
import type { S3Tool } from '../../src/tools/s3/s3-tool.ts';
import type { ToolContext, ToolResult } from '../../src/tools/tool.ts';
import type { ObjectServer } from './object-servers.ts';

export const bucket = 'portfolio';
/** In an object of globex. */
export const objectCanary = 'canary-of-an-object-of-globex';

export function rootClient({ url, accessKeyId, secretAccessKey }: ObjectServer): S3Client {
  return new S3Client({
    endpoint: url,
    region: 'us-east-1',
    forcePathStyle: true,
    credentials: { accessKeyId, secretAccessKey },
  });
}

export async function fillBucket(server: ObjectServer): Promise<void> {
  const client = rootClient(server);
  await client.send(new CreateBucketCommand({ Bucket: bucket }));
  const put = (Key: string, Body: string) => client.send(new PutObjectCommand({ Bucket: bucket, Key, Body }));
  await put('acme/prices/dax.csv', 'DAX,1');
  await put('acme/prices/smi.csv', 'SMI,2');
  await put('acme-two/prices/dax.csv', objectCanary);
  await put('globex/prices/dax.csv', objectCanary);
  client.destroy();
}

export const allOperations = ['get', 'head', 'list', 'put', 'delete', 'presign'] as const;

export function s3Settings(url: string, change: Record<string, unknown> = {}): S3Settings {
  const settings = toolSettingsSchema.parse({
    kind: 's3',
    description: 'prices',
    endpoint: url,
    pathStyle: true,
    bucket,
    prefix: 'acme',
    credentials: { source: 'static', accessKeyId: 'testing-key', secretAccessKey: 'key' },
    operations: allOperations,
    ...change,
  });
  assert.ok(settings.kind === 's3');
  return settings;
}

/** The role that tools assume in tests, by the keys of the server's own account. */
export function roleOf({ url, accessKeyId }: ObjectServer, change: Record<string, unknown> = {}) {
  return {
    source: 'assume_role',
    roleArn: 'arn:aws:iam::123456789012:role/sessions',
    endpoint: url,
    identity: { accessKeyId, secretAccessKey: 'key' },
    ...change,
  };
}

export function openTool(settings: S3Settings, secret: string): Promise<S3Tool> {
  return openS3Tool('prices', settings, { secret: () => Promise.resolve(secret) });
}

export const context: ToolContext = {
  tenant: makeId('tenant'),
  session: makeId('session'),
  subject: 'agent',
  signal: new AbortController().signal,
  granted: allOperations,
};

/** As a call from a guest is made: its arguments are text, checked, its resource is looked at, and then it is carried out. */
export async function call(
  tool: S3Tool,
  operation: string,
  given: unknown,
  change: Partial<ToolContext> = {},
): Promise<ToolResult> {
  const description = tool.description.operations[operation] ?? assert.fail(`there is ${operation}`);
  const text = typeof given === 'string' ? given : JSON.stringify(given);
  const checked = checkArguments(description.parameters, parseArguments(Buffer.from(text)));
  tool.resourceOf(operation, checked);
  return await tool.call(operation, checked, { ...context, ...change });
}

export async function valueOf(result: Promise<ToolResult>): Promise<unknown> {
  const answer = await result;
  assert.equal(answer.kind, 'value');
  return answer.kind === 'value' ? answer.value : undefined;
}

export async function bytesOf(result: Promise<ToolResult>): Promise<Buffer> {
  const answer = await result;
  assert.ok(answer.kind === 'bytes');
  const bytes = Buffer.concat(await Array.fromAsync(answer.bytes));
  assert.equal(bytes.length, answer.sizeBytes);
  return bytes;
}
