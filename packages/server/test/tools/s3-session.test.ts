// A session's objects, from the call of its code to the store: decided by prefix, with files whose bytes are part of the decision.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, test } from 'node:test';
import { type DecisionId, type ErrorJson, makeId } from '@bulkhead/protocol';
import { writeCedarSchema } from '../../src/authority/cedar-schema.ts';
import type { Decision } from '../../src/authority/decision-point.ts';
import { PolicyEngine } from '../../src/authority/policy-engine.ts';
import { readPolicySet } from '../../src/authority/policy-set.ts';
import { systemClock } from '../../src/lib/clock.ts';
import type { FakeGuest } from '../../src/runtimes/fake/fake-guest.ts';
import { FakeRuntime } from '../../src/runtimes/fake/fake-runtime.ts';
import { CallFiles, FileBudget } from '../../src/sessions/call-files.ts';
import { Sessions } from '../../src/sessions/sessions.ts';
import { ToolCalls } from '../../src/sessions/tool-calls.ts';
import { type ObjectServer, startMoto } from './object-servers.ts';
import { bytesOf, call, fillBucket, openTool, s3Settings } from './s3-support.ts';

let moto: ObjectServer;
before(async () => {
  moto = await startMoto();
  await fillBucket(moto);
});
after(async () => {
  await moto[Symbol.asyncDispose]();
});

test('policies speak of prefixes, and of a file’s size and digest; what was read is what is stored', async () => {
  await using tool = await openTool(s3Settings(moto.url), moto.secretAccessKey);
  const forgotten: string[] = [];
  const policies = readPolicySet(
    `@id("prices") permit(principal, action in [Bulkhead::Action::"prices.get", Bulkhead::Action::"prices.list"], resource in Bulkhead::Prefix::"portfolio/acme/prices");
     @id("reports") permit(principal, action == Bulkhead::Action::"prices.put", resource in Bulkhead::Prefix::"portfolio/acme/reports")
       when { context has file && context.file.size < 100 };
     @id("none-of-these") forbid(principal, action == Bulkhead::Action::"prices.put", resource)
       when { context has file && context.file.sha256 == "${createHash('sha256').update('forbidden').digest('hex')}" };`,
    writeCedarSchema([tool.description]),
  );
  const decided: Decision[] = [];
  const ended = new Map<DecisionId, ErrorJson | null>();
  let whileDecided = (): void => undefined;
  const runtime = new FakeRuntime({ clock: systemClock });
  await using sessions = new Sessions({
    runtimes: [runtime],
    tools: new ToolCalls({
      engine: new PolicyEngine(),
      source: {
        of: () => Promise.resolve({ tenantName: 'acme', tools: new Map([['prices', tool]]), policies }),
        forget: (_, session) => void forgotten.push(session),
      },
      log: {
        begin: async (_, decision) => {
          decided.push(decision);
          whileDecided();
        },
        refuse: () => Promise.resolve(),
        end: async (_, id, error) => void ended.set(id, error),
      },
      clock: systemClock,
      region: 'here',
    }),
  });
  const tenant = makeId('tenant');
  const { id } = await sessions.createSession({ tenant, grant: ['prices.*'] });
  const guest: FakeGuest = [...runtime.machines.values()].at(-1)?.guest ?? assert.fail('there is a machine');
  const outcome = async (operation: string, given: object): Promise<string> => {
    const answer = await (guest.call ?? assert.fail())('prices', operation, JSON.stringify(given));
    return answer.ok ? 'ok' : answer.error.code;
  };

  assert.equal(await outcome('get', { key: 'prices/dax.csv' }), 'ok');
  const { id: first } = decided.at(-1) ?? assert.fail();
  assert.equal(guest.files.get(`/home/user/tool-results/${first}`)?.toString(), 'DAX,1');
  assert.equal(await outcome('get', { key: 'prices-of-others/dax.csv' }), 'tool_denied', 'a prefix is a folder');
  assert.equal(await outcome('get', { key: 'other/dax.csv' }), 'tool_denied');
  assert.equal(await outcome('list', { prefix: 'prices' }), 'ok');
  assert.equal(await outcome('list', {}), 'tool_denied');

  const report = Buffer.from([1, 2, 3, 0, 255]);
  guest.files.set('/home/user/report.bin', report);
  // The guest has another file there by the time that the decision is made.
  whileDecided = () => void guest.files.set('/home/user/report.bin', Buffer.from('something else'));
  assert.equal(await outcome('put', { key: 'reports/1.bin', file: '/home/user/report.bin' }), 'ok');
  whileDecided = () => undefined;
  assert.deepEqual(await bytesOf(call(tool, 'get', { key: 'reports/1.bin' })), report);
  const { request, argumentsDigest } = decided.at(-1) ?? assert.fail();
  const sha256 = createHash('sha256').update(report).digest('hex');
  assert.deepEqual(request.context, { key: 'reports/1.bin', file: { sha256, size: 5 } });
  const canonical = `{"file":{"sha256":"${sha256}","size":5},"key":"reports/1.bin"}`;
  assert.equal(argumentsDigest, createHash('sha256').update(canonical).digest('hex'));

  guest.files.set('/home/user/large', Buffer.alloc(100));
  assert.equal(await outcome('put', { key: 'reports/2.bin', file: '/home/user/large' }), 'tool_denied');
  guest.files.set('/home/user/forbidden', Buffer.from('forbidden'));
  assert.equal(await outcome('put', { key: 'reports/3.bin', file: '/home/user/forbidden' }), 'tool_denied');
  assert.equal(await outcome('put', { key: 'reports/4.bin', text: 'x' }), 'tool_denied');
  const count = decided.length;
  assert.equal(await outcome('put', { key: 'reports/5.bin', file: '/home/user/absent' }), 'file_error');
  // A guest cannot say itself what a file would be.
  assert.equal(await outcome('put', { key: 'reports/6.bin', file: { sha256, size: 5 } }), 'invalid_request');
  assert.equal(await outcome('put', { key: 'reports/7.bin', file: '' }), 'invalid_request');
  assert.equal(await outcome('put', { key: 'reports/8.bin', file: 'a\0b' }), 'invalid_request');
  assert.equal(decided.length, count, 'nothing is decided on what is no file');
  for (const name of [2, 3, 4, 5, 6, 7, 8]) {
    await assert.rejects(call(tool, 'head', { key: `reports/${name}.bin` }), { code: 'tool_failed' });
  }
  assert.ok([...ended.values()].every((error) => error === null));

  assert.deepEqual(forgotten, []);
  await sessions[Symbol.asyncDispose]();
  assert.deepEqual(forgotten, [id], 'what was made for a session goes with it');
});

test('files are bounded each, for a session and for the host, and give back what they took', async () => {
  const runtime = new FakeRuntime({ clock: systemClock });
  await using sessions = new Sessions({ runtimes: [runtime] });
  await sessions.createSession({ tenant: makeId('tenant') });
  const guest = [...runtime.machines.values()].at(-1)?.guest ?? assert.fail('there is a machine');
  guest.files.set('/home/user/ten', Buffer.alloc(10));
  const description = { file: { kind: 'file', description: 'which', maxBytes: 10 } } as const;
  const files = (budgets: readonly FileBudget[], path = '/home/user/ten'): CallFiles => {
    const argumentBytes = Buffer.from(JSON.stringify({ file: path }));
    return new CallFiles(guest, { argumentBytes, signal: new AbortController().signal }, budgets);
  };
  const session = new FileBudget(15);
  const host = new FileBudget(25);
  const one = files([session, host]);
  await one.argumentBytes(description);
  assert.equal(one.files.get('file')?.length, 10);
  await assert.rejects(files([session, host]).argumentBytes(description), { code: 'limit_exceeded' });
  const other = files([new FileBudget(15), host]);
  await other.argumentBytes(description);
  await assert.rejects(files([new FileBudget(15), host]).argumentBytes(description), { code: 'limit_exceeded' });
  one[Symbol.dispose]();
  assert.equal(one.files.size, 0);
  await files([session, host]).argumentBytes(description);
  guest.files.set('/home/user/eleven', Buffer.alloc(11));
  await assert.rejects(files([], '/home/user/eleven').argumentBytes(description), { code: 'limit_exceeded' });
  assert.deepEqual(
    Buffer.from(
      await files([], '/no/such').argumentBytes({ file: { kind: 'text', description: 'a text' } }),
    ).toString(),
    '{"file":"/no/such"}',
    'a text is no file',
  );
});
