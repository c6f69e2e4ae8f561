// Machines that are there before the session: they can be claimed once, by whom they were launched for, when they have confirmed; the
// session that has one cannot tell it from a machine that was launched for it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type TenantId, makeId } from '@bulkhead/protocol';
import { type Bulkhead, type LaunchSpec, loadConfig, openBulkhead } from '@bulkhead/server';
import { QemuSpare } from '../../packages/server/src/runtimes/qemu/qemu-spare.ts';
import { eventually, openSession, output, processesWith, useBulkhead, value } from './support.ts';

const bulkhead = useBulkhead();
const traces =
  'import os; print(sorted(globals()), get_ipython().execution_count, len(Out), os.listdir(os.path.expanduser("~")), os.listdir("/tmp"))';
const tenant = makeId('tenant');
const specOf = (whose: TenantId = tenant): LaunchSpec => ({ tenant: whose, session: makeId('session'), size: 'small' });

function openPooled(count: number): Promise<Bulkhead> {
  return openBulkhead({ ...loadConfig(), pool: { minCount: count, maxCount: count } });
}

test('sessions from the pool are unique, know the time, and find nothing of what came before', async () => {
  const count = 3;
  await using pooled = await openPooled(count);
  const { sessions } = pooled;
  await using first = await openSession(pooled, tenant);
  await eventually('the pool is full', () => sessions.readyCount === count, 60_000);
  const waiting = new Set((await pooled.runtime.list()).flatMap(({ id, session }) => (session === null ? id : [])));
  assert.equal(waiting.size, count);
  const look = `[__import__(name).__dict__[call](*given) for name, call, given in (
    ("os", "getrandom", (16,)), ("random", "random", ()), ("uuid", "uuid4", ()), ("socket", "gethostname", ()))]
    + [__import__("numpy").random.rand(), open("/etc/machine-id").read()]`.replaceAll('\n', ' ');
  const seen = [await value<unknown[]>(first, `[str(each) for each in ${look}]`)];
  for (let n = 0; n < count; n++) {
    const session = await openSession(pooled, tenant);
    assert.ok(session.record.machine !== null && waiting.has(session.record.machine), 'it comes from the pool');
    const [held, fresh] = [
      await session.startTurn({ code: traces }).result,
      await session.startTurn({ code: traces, context: 'fresh' }).result,
    ];
    assert.equal(held.status, 'ok');
    assert.equal(held.stdout, fresh.stdout, 'nothing is there that a new context has not');
    const skewMs = Math.abs((await value<number>(session, '__import__("time").time()')) * 1000 - Date.now());
    assert.ok(skewMs < 250, `its clock is right: ${skewMs}`);
    seen.push(await value<unknown[]>(session, `[str(each) for each in ${look}]`));
    assert.equal(seen.at(-1)?.[3], session.id.replace('_', '-'));
  }
  for (const column of Array.from({ length: 6 }, (_, index) => seen.map((row) => row[index]))) {
    assert.equal(new Set(column).size, count + 1, `${String(column)} differ`);
  }
  const owned = await pooled.runtime.list();
  for (const { id, session } of owned) if (waiting.has(id)) assert.notEqual(session, null, 'and whose it is, is known');
});

test('a spare machine is claimed once, by the tenant and in the size that it was launched for', async () => {
  const { runtime } = bulkhead();
  await using spare = await runtime.launchSpare({ tenant, size: 'small' });
  await assert.rejects(spare.claim(specOf(makeId('tenant'))), { code: 'state_conflict' });
  await assert.rejects(spare.claim({ ...specOf(), size: 'medium' }), { code: 'state_conflict' });
  const spec = specOf();
  await using machine = await spare.claim(spec);
  assert.deepEqual(machine.spec, spec);
  await assert.rejects(spare.claim(specOf()), { code: 'state_conflict' });
  await spare[Symbol.asyncDispose]();
  assert.equal((await machine.guest.listContexts()).length > 0, true, 'the pool has no hold on what was claimed');
  await assert.rejects(runtime.launchSpare({ tenant: null, size: 'small' }), { code: 'unsupported' });
});

test('there is no way to a machine that has not confirmed, nor to the guest of one that nobody has', async () => {
  const { runtime } = bulkhead();
  const giveUp = new AbortController();
  const launching = runtime.launchSpare({ tenant, size: 'small' }, { signal: giveUp.signal });
  launching.catch(() => undefined);
  const launched = async (): Promise<boolean> => (await runtime.list()).some((machine) => machine.tenant === tenant);
  await eventually('its process is there', launched);
  giveUp.abort();
  await assert.rejects(launching, { code: 'cancelled' }, 'there is no spare machine before it has confirmed');
  await eventually('nothing is left', async () => !(await launched()));
  const forged: unknown = Object.create(QemuSpare.prototype);
  assert.ok(forged instanceof QemuSpare);
  await assert.rejects(forged.claim(specOf()), TypeError, 'one cannot be made up');
  await using spare = await runtime.launchSpare({ tenant, size: 'small' });
  assert.deepEqual(Reflect.ownKeys(spare), [], 'nothing in it but what its interface has');
  const members = Reflect.ownKeys(QemuSpare.prototype).map(String).toSorted();
  assert.deepEqual(members, ['Symbol(Symbol.asyncDispose)', 'claim', 'constructor', 'exited', 'id']);
});

test('one whose VMM died or stands still while it waited is nobody’s, and is gone', async () => {
  const { runtime } = bulkhead();
  for (const signal of ['SIGKILL', 'SIGSTOP'] as const) {
    await using spare = await runtime.launchSpare({ tenant, size: 'small' });
    for (const pid of processesWith(`bulkhead:${spare.id}`)) process.kill(pid, signal);
    const claimed = spare.claim(specOf(), { signal: AbortSignal.timeout(2000) });
    await assert.rejects(claimed, { code: signal === 'SIGKILL' ? 'machine_lost' : 'cancelled' });
    await spare.exited;
    assert.deepEqual(processesWith(`bulkhead:${spare.id}`), []);
  }
});

test('the pool ends with its Bulkhead', async () => {
  const pooled = await openPooled(2);
  await using session = await openSession(pooled, tenant);
  assert.equal(await output(session, 'print(1)'), '1');
  await eventually('the pool is full', () => pooled.sessions.readyCount === 2, 60_000);
  await pooled[Symbol.asyncDispose]();
  assert.deepEqual(processesWith(`:${process.pid}-`), []);
});
