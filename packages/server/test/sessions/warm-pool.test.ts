import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BulkheadError, type SizeName, type TenantId, makeId } from '@bulkhead/protocol';
import { LaunchQueue } from '../../src/sessions/launch-queue.ts';
import { FakeRuntime, type FakeRuntimeOptions } from '../../src/runtimes/fake/fake-runtime.ts';
import { SteppedClock } from '../../src/runtimes/fake/stepped-clock.ts';
import type { LaunchSpec, Machine, SpareMachine, SpareSpec } from '../../src/runtimes/runtime.ts';
import { Sessions } from '../../src/sessions/sessions.ts';
import { type PoolBounds, WarmPool, burstMs, demandMs, refillDelayMs } from '../../src/sessions/warm-pool.ts';

interface Pooled {
  readonly clock: SteppedClock;
  readonly runtime: FakeRuntime;
  readonly pool: WarmPool;
  readonly tenant: TenantId;
  /** Asks for a machine; whether one was ready. */
  claim(whose?: TenantId, size?: SizeName): Promise<Machine | undefined>;
}

function openPool(
  bounds: Partial<PoolBounds> = {},
  options: FakeRuntimeOptions = {},
  Made: typeof FakeRuntime = FakeRuntime,
): Pooled {
  const clock = new SteppedClock();
  const runtime = new Made({ ...options, clock });
  const pool = new WarmPool({
    clock,
    queue: new LaunchQueue({ clock, places: 4 }),
    minCount: 0,
    maxCount: 10,
    ...bounds,
  });
  const tenant = makeId('tenant');
  const claim = (whose = tenant, size: SizeName = 'small'): Promise<Machine | undefined> =>
    pool.claim(runtime, { tenant: whose, session: makeId('session'), size });
  return { clock, runtime, pool, tenant, claim };
}

const refilled = ({ clock }: Pooled): Promise<void> => clock.advance(refillDelayMs);

describe('a warm pool', () => {
  it('has nothing before there is demand, and a machine for the next after it', async () => {
    const pooled = openPool();
    assert.equal(await pooled.claim(), undefined);
    assert.equal(pooled.runtime.machines.size, 0, 'not while the first one is being launched');
    await refilled(pooled);
    assert.equal(pooled.pool.count, 1);
    await pooled.clock.advance(burstMs);
    const machine = await pooled.claim();
    assert.equal(machine?.spec.tenant, pooled.tenant);
    assert.equal(pooled.pool.count, 0, 'what is claimed is not in it');
    await refilled(pooled);
    assert.equal(pooled.pool.count, 1, 'and is replaced');
  });

  it('holds as many as were wanted in a burst, within its bounds', async () => {
    const pooled = openPool({ maxCount: 4 });
    for (let n = 0; n < 3; n++) await pooled.claim();
    await refilled(pooled);
    assert.equal(pooled.pool.count, 3);
    for (let n = 0; n < 7; n++) await pooled.claim();
    await refilled(pooled);
    assert.equal(pooled.pool.count, 4);
    const slow = openPool();
    for (let n = 0; n < 5; n++) {
      await slow.claim();
      await slow.clock.advance(burstMs);
    }
    assert.equal(slow.pool.count, 1, 'one after the other needs one');
    const least = openPool({ minCount: 2 });
    await least.claim();
    await refilled(least);
    assert.equal(least.pool.count, 2);
  });

  it('lets go of what nobody wants any more', async () => {
    const pooled = openPool({ minCount: 3 });
    await pooled.claim();
    await refilled(pooled);
    await pooled.clock.advance(demandMs - 2 * refillDelayMs);
    assert.equal(pooled.runtime.machines.size, 3);
    await pooled.clock.advance(60_000);
    assert.equal(pooled.runtime.machines.size, 0);
    assert.equal(pooled.pool.count, 0);
  });

  it('keeps what is one tenant’s from another, and sizes apart', async () => {
    const pooled = openPool();
    await pooled.claim();
    await refilled(pooled);
    assert.equal(pooled.pool.count, 1);
    assert.equal(await pooled.claim(makeId('tenant')), undefined);
    assert.equal(await pooled.claim(pooled.tenant, 'medium'), undefined);
    assert.ok(await pooled.claim());
  });

  it('gives nobody a machine that has not confirmed', async () => {
    for (const kind of ['hang', 'deaf'] as const) {
      const pooled = openPool({ minCount: 3 }, { plan: () => ({ kind }) });
      await pooled.claim();
      await refilled(pooled);
      assert.equal(pooled.pool.count, 0, kind);
      assert.equal(await pooled.claim(), undefined, kind);
    }
    const late = openPool({}, { plan: () => ({ kind: 'late', delayMs: 500 }) });
    await late.claim();
    await refilled(late);
    await late.clock.advance(499);
    assert.equal(await late.claim(), undefined, 'a moment too early');
    await late.clock.advance(1);
    assert.ok(await late.claim());
  });

  it('hands a machine out once, however many ask at the same moment', async () => {
    const pooled = openPool({ minCount: 5 });
    await pooled.claim();
    await refilled(pooled);
    const machines = await Promise.all(Array.from({ length: 20 }, () => pooled.claim()));
    const ids = machines.flatMap((machine) => machine?.id ?? []);
    assert.equal(ids.length, 5);
    assert.equal(new Set(ids).size, 5);
  });

  it('passes over machines that died while they waited', async () => {
    const pooled = openPool({ minCount: 2 });
    await pooled.claim();
    await refilled(pooled);
    for (const machine of pooled.runtime.machines.values()) machine.crash();
    assert.equal(await pooled.claim(), undefined);
    await refilled(pooled);
    assert.equal(pooled.pool.count, 2);
  });

  it('tries again, less and less often, while machines cannot be launched', async () => {
    let launches = 0;
    const pooled = openPool({}, { plan: () => ({ kind: ++launches > 4 ? 'ok' : 'full' }) });
    await pooled.claim();
    await pooled.clock.advance(refillDelayMs + 1000 + 2000);
    assert.equal(launches, 3);
    await pooled.clock.advance(4000 + 8000);
    assert.equal(pooled.pool.count, 1);
  });

  it('leaves nothing when it is closed, not even what is being launched', async () => {
    const pooled = openPool({ minCount: 3 }, { plan: (n) => ({ kind: n < 2 ? 'ok' : 'hang' }) });
    await pooled.claim();
    await refilled(pooled);
    assert.equal(pooled.runtime.machines.size, 2);
    await pooled.pool[Symbol.asyncDispose]();
    await pooled.clock.advance(demandMs);
    assert.equal(pooled.runtime.machines.size, 0);
    assert.equal(await pooled.claim(), undefined);
  });

  it('is one for all tenants where the runtime’s machines may become anybody’s', async () => {
    class Sharing extends FakeRuntime {
      override readonly capabilities = { ...new FakeRuntime().capabilities, spares: 'shared' as const };
      override launchSpare({ size }: SpareSpec): Promise<SpareMachine> {
        return super.launchSpare({ tenant: spared, size });
      }
    }
    const spared = makeId('tenant');
    const pooled = openPool({}, {}, Sharing);
    await pooled.claim(makeId('tenant'));
    await refilled(pooled);
    await pooled.claim(spared).then((machine) => assert.ok(machine));
  });
});

describe('sessions with a pool', () => {
  const create = async (clock: SteppedClock, sessions: Sessions, tenant: TenantId): Promise<LaunchSpec['session']> => {
    const created = sessions.createSession({ tenant });
    created.catch(() => undefined);
    await clock.advance(0);
    return (await created).id;
  };

  it('are created from what is ready; forks, which have a memory of their own, are not', async () => {
    const clock = new SteppedClock();
    const runtime = new FakeRuntime({ clock });
    await using sessions = new Sessions({ runtimes: [runtime], clock, pool: { minCount: 1, maxCount: 4 } });
    const tenant = makeId('tenant');
    await create(clock, sessions, tenant);
    await clock.advance(refillDelayMs);
    assert.equal(sessions.readyCount, 1);
    const [spare] = [...runtime.machines.keys()].slice(-1);
    const id = await create(clock, sessions, tenant);
    assert.equal(sessions.getSession(tenant, id).machine, spare);
    assert.equal(sessions.readyCount, 0);
  });

  it('take the room of machines that nobody has', async () => {
    const clock = new SteppedClock();
    const other = makeId('tenant');
    const runtime: FakeRuntime = new FakeRuntime({
      clock,
      plan: () => ({ kind: runtime.machines.size < 3 ? 'ok' : 'full' }),
    });
    await using sessions = new Sessions({ runtimes: [runtime], clock, pool: { minCount: 2, maxCount: 4 } });
    await create(clock, sessions, makeId('tenant'));
    await clock.advance(refillDelayMs);
    assert.equal(sessions.readyCount, 2);
    const id = await create(clock, sessions, other);
    assert.equal(sessions.getSession(other, id).state, 'ready');
    assert.equal(sessions.readyCount, 0);
    await create(clock, sessions, other);
    await assert.rejects(create(clock, sessions, other), (error) => BulkheadError.is(error, 'capacity_exhausted'));
  });

  it('leave no machine when they are closed', async () => {
    const clock = new SteppedClock();
    const runtime = new FakeRuntime({ clock });
    const sessions = new Sessions({ runtimes: [runtime], clock, pool: { minCount: 3, maxCount: 4 } });
    await create(clock, sessions, makeId('tenant'));
    await clock.advance(refillDelayMs);
    assert.equal(runtime.machines.size, 4);
    await sessions.close();
    assert.equal(runtime.machines.size, 0);
  });
});
