import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type TenantId, makeId } from '@bulkhead/protocol';
import { type Subject, contractCases, contractTable, runCase } from '@bulkhead/conformance';
import type { LaunchSpec } from '@bulkhead/server';
import { FakeRuntime } from '../../server/src/runtimes/fake/fake-runtime.ts';

const fake: Subject = {
  name: 'fake',
  open: async () => new FakeRuntime(),
  openFull: async () => new FakeRuntime({ plan: () => ({ kind: 'full' }) }),
};

for (const contractCase of contractCases) {
  test(`fake: ${contractCase.name}`, async (context) => {
    await using runtime = await fake.open();
    const result = await runCase(contractCase, fake, runtime);
    if (result.outcome === 'broken') throw result.error;
    if (result.outcome === 'skipped') context.skip(result.why);
  });
}

test('a runtime that leaves a machine behind is found out', async () => {
  await using runtime = new FakeRuntime();
  const leaving = { name: 'leaves one', run: async () => undefined };
  assert.equal((await runCase(leaving, fake, runtime)).outcome, 'holds', 'the control');
  const result = await runCase(
    { name: 'leaves one', run: async ({ tenant }) => void (await runtime.launch(spec(tenant))) },
    fake,
    runtime,
  );
  assert.equal(result.outcome, 'broken');
  assert.match(contractTable([result]), /leaves one +BROKEN/);
});

function spec(tenant: TenantId): LaunchSpec {
  return { tenant, session: makeId('session'), size: 'small' };
}
