// Guest code that reads and writes objects: on a real machine, from every language, with credentials that are nowhere in it.

import assert from 'node:assert/strict';
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { type Language, makeId } from '@bulkhead/protocol';
import { Sessions, systemClock } from '@bulkhead/server';
import { writeCedarSchema } from '../../packages/server/src/authority/cedar-schema.ts';
import { AssumedRole } from '../../packages/server/src/authority/credentials/assumed-role.ts';
import type { AwsKeySource, AwsKeys } from '../../packages/server/src/authority/credentials/aws-keys.ts';
import { writeSessionPolicy } from '../../packages/server/src/authority/credentials/session-policy.ts';
import { PolicyEngine } from '../../packages/server/src/authority/policy-engine.ts';
import { readPolicySet } from '../../packages/server/src/authority/policy-set.ts';
import { ToolCalls } from '../../packages/server/src/sessions/tool-calls.ts';
import { S3Tool } from '../../packages/server/src/tools/s3/s3-tool.ts';
import { type ObjectServer, startMoto } from '../../packages/server/test/tools/object-servers.ts';
import {
  allOperations,
  bucket,
  bytesOf,
  call,
  fillBucket,
  objectCanary,
  s3Settings,
} from '../../packages/server/test/tools/s3-support.ts';
import { processesWith, useBulkhead } from './support.ts';

const bulkhead = useBulkhead();
let moto: ObjectServer;
before(async () => {
  moto = await startMoto();
  await fillBucket(moto);
});
after(async () => {
  await moto[Symbol.asyncDispose]();
});

/** Nothing of a process that has ended meanwhile: other tests have machines too. */
function ofRunning<T>(look: () => readonly T[]): readonly T[] {
  try {
    return look();
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes(String(Reflect.get(Object(error), 'code')))) return [];
    throw error;
  }
}

/** Whether each text is in the memory of the process, wherever it can be read. */
function memoryHolds(pid: number, texts: readonly string[]): readonly boolean[] {
  const held = texts.map(() => false);
  const memory = openSync(`/proc/${pid}/mem`, 'r');
  const chunk = Buffer.alloc(4_194_304);
  try {
    for (const line of readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n')) {
      const [, from = '', to = ''] = /^([0-9a-f]+)-([0-9a-f]+) r/.exec(line) ?? [];
      if (from === '') continue;
      const end = parseInt(to, 16);
      // Parts overlap, so that nothing is cut in two.
      for (let at = parseInt(from, 16); at < end; at += chunk.length - 256) {
        let size: number;
        try {
          size = readSync(memory, chunk, 0, Math.min(chunk.length, end - at), at);
        } catch {
          break; // A mapping with nothing behind it.
        }
        for (const [index, text] of texts.entries()) held[index] ||= chunk.subarray(0, size).includes(text);
      }
    }
  } finally {
    closeSync(memory);
  }
  return held;
}

test('objects go in and out from every language, and no credential is in the machine', async () => {
  const made: AwsKeys[] = [];
  const role = new AssumedRole({
    roleArn: 'arn:aws:iam::123456789012:role/sessions',
    durationSeconds: 900,
    region: 'us-east-1',
    endpoint: moto.url,
    identity: () => Promise.resolve(moto),
    policyOf: ({ granted }) =>
      writeSessionPolicy({
        partition: 'aws',
        bucket,
        prefix: 'acme',
        operations: allOperations.filter((one) => granted.includes(one)),
      }),
    clock: systemClock,
  });
  const keys: AwsKeySource = {
    keysFor: async (holder, validForMs) => {
      const given = await role.keysFor(holder, validForMs);
      made.push(given);
      return given;
    },
    forget: (ended) => role.forget(ended),
  };
  await using tool = new S3Tool({ name: 'prices', settings: s3Settings(moto.url), keys, clock: systemClock });
  const policies = readPolicySet(
    `@id("own") permit(principal, action, resource in Bulkhead::Prefix::"portfolio/acme");
     @id("kept") forbid(principal, action == Bulkhead::Action::"prices.delete", resource);`,
    writeCedarSchema([tool.description]),
  );
  await using sessions = new Sessions({
    runtimes: bulkhead().runtimes,
    tools: new ToolCalls({
      engine: new PolicyEngine(),
      source: { of: () => Promise.resolve({ tenantName: 'acme', tools: new Map([['prices', tool]]), policies }) },
      log: { begin: () => Promise.resolve(), refuse: () => Promise.resolve(), end: () => Promise.resolve() },
      clock: systemClock,
      region: 'here',
    }),
  });
  const others = new Set(processesWith('qemu-system'));
  const session = await sessions.createSession({ tenant: makeId('tenant'), grant: ['prices.*'], runtime: 'qemu' });
  const run = async (code: string, language: Language = 'python'): Promise<string> => {
    const { stdout, stderr, exception } = await session.startTurn({ code, language }).result;
    return (stdout + stderr + (exception?.traceback ?? '')).trim();
  };
  const stored = async (key: string): Promise<string> => (await bytesOf(call(tool, 'get', { key }))).toString();

  assert.equal(
    await run(
      "from bulkhead import tools; p = tools.prices; print(p.get(key='prices/dax.csv').text(), p.get(key='prices/smi.csv').read())",
    ),
    "DAX,1 b'SMI,2'",
  );
  assert.equal(
    await run(
      "import os; os.makedirs('/tmp/w', exist_ok=True); os.chdir('/tmp/w'); open('out.csv', 'wb').write(b'py' * 500_000); print(p.put(key='reports/py', file='out.csv')['size'])",
    ),
    '1000000',
  );
  assert.equal(await stored('reports/py'), 'py'.repeat(500_000));
  assert.equal(
    await run(
      "const { tools } = require('bulkhead'); require('node:fs').writeFileSync('/tmp/js.txt', 'from js'); await tools.prices.put({ key: 'reports/js', file: '/tmp/js.txt' }); const back = await tools.prices.get({ key: 'reports/js' }); await tools.prices.put({ key: 'reports/again', file: back }); console.log(await back.text(), (await back.read()).length)",
      'javascript',
    ),
    'from js 7',
  );
  assert.equal(await stored('reports/again'), 'from js');
  assert.equal(
    await run(
      'cd /tmp && printf shell > sh.txt && bulkhead-tool prices put key=reports/sh file=sh.txt > /dev/null && cat $(bulkhead-tool prices get key=reports/sh)',
      'bash',
    ),
    'shell',
  );
  assert.match(await run("p.delete(key='reports/sh')"), /may not do this/);
  assert.match(await run("p.get(key='../globex/prices/dax.csv')"), /relative path/);
  assert.match(await run("p.put(key='reports/shadow', file='/etc/shadow')"), /Error/);
  assert.equal(await stored('reports/sh'), 'shell');

  // The machine's memory, as the host has it, down to its last page; what the guest put there itself is found.
  assert.equal(await run("marker = 'marker-' + 'in-the-memory-of-a-guest'; print(len(marker))"), '31');
  const [{ accessKeyId, secretAccessKey, sessionToken = '' } = assert.fail('keys were made')] = made;
  const pids = processesWith('qemu-system').filter((pid) => !others.has(pid));
  const secrets = [
    'marker-in-the-memory-of-a-guest',
    moto.secretAccessKey,
    secretAccessKey,
    sessionToken,
    accessKeyId,
    objectCanary,
  ];
  const found = pids
    .flatMap((pid) => ofRunning(() => [memoryHolds(pid, secrets)]))
    .filter(([marker]) => marker === true);
  assert.ok(found.length > 0, 'the marker is seen in one of the processes');
  for (const held of found) assert.deepEqual(held, [true, false, false, false, false, false]);
  // A class of one letter, so that what looks does not hold what it looks for.
  const pattern = (text: string): string => `${text.slice(0, 12)}[${text[12] ?? ''}]${text.slice(13, 24)}`;
  const look = async (text: string): Promise<string> =>
    await run(`grep -rl -e '${pattern(text)}' /home/user /tmp /run 2>/dev/null | wc -l`, 'bash');
  await run("open('/tmp/w/planted', 'w').write('planted-in-a-' + 'file-of-the-guest')");
  assert.equal(await look('planted-in-a-file-of-the-guest'), '1', 'the search finds what is there');
  assert.equal(await look(moto.secretAccessKey), '0');
});
