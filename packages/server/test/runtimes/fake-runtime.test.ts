import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { makeId } from '@bulkhead/protocol';
import { FakeRuntime, mulberry32, seededPlan } from '../../src/runtimes/fake/fake-runtime.ts';
import { evaluate } from '../../src/runtimes/fake/fake-script.ts';
import { SteppedClock, settle } from '../../src/runtimes/fake/stepped-clock.ts';

const spec = { tenant: makeId('tenant'), session: makeId('session'), size: 'small' } as const;

const plan = (seed: number): string[] => Array.from({ length: 50 }, (_, n) => seededPlan(seed)(n).kind);

describe('the fake runtime', () => {
  it('says that it isolates nothing', () => {
    assert.equal(new FakeRuntime().capabilities.tier, 'none');
  });

  it('lists its machines until they are gone; destruction is idempotent', async () => {
    const clock = new SteppedClock();
    const runtime = new FakeRuntime({ clock, plan: () => ({ kind: 'ok', destroy: 10 }) });
    const launching = runtime.launch(spec);
    await clock.advance(0);
    const machine = await launching;
    assert.deepEqual(await runtime.list(), [{ id: machine.id, tenant: spec.tenant, session: spec.session }]);
    const calls = [machine.destroy('destroyed', 'a'), machine.destroy('crashed', 'b')];
    await clock.advance(10);
    await Promise.all(calls);
    assert.deepEqual(await machine.exited, { reason: 'destroyed', detail: 'a' });
    assert.deepEqual(await runtime.list(), []);
  });

  it('plans the same from the same seed', () => {
    assert.deepEqual(plan(7), plan(7));
    assert.notDeepEqual(plan(7), plan(8));
    assert.equal(mulberry32(1)(), mulberry32(1)());
  });

  it('calculates as far as examples need it', () => {
    const variables = new Map([['x', 41]]);
    assert.equal(evaluate('6*7', variables), 42);
    assert.equal(evaluate('(x + 1) * 2 - 4 / 2', variables), 82);
    assert.equal(evaluate('"a" + \'b\'', variables), 'ab');
    assert.throws(() => evaluate('1 +', variables), { name: 'SyntaxError' });
    assert.throws(() => evaluate('y', variables), { name: 'NameError' });
  });
});

describe('the stepped clock', () => {
  it('fires in order of time, then of asking, and not what was cancelled', async () => {
    const clock = new SteppedClock();
    const fired: string[] = [];
    clock.after(20, () => fired.push('c'));
    clock.after(10, () => fired.push('a'));
    clock.after(10, () => fired.push('b'));
    clock.after(15, () => fired.push('never'))();
    await clock.advance(15);
    assert.deepEqual(fired, ['a', 'b']);
    await clock.advance(5);
    await settle();
    assert.deepEqual([fired, clock.pendingTimers], [['a', 'b', 'c'], 0]);
  });
});
