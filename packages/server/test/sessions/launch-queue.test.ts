import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BulkheadError, makeId } from '@bulkhead/protocol';
import { LaunchQueue } from '../../src/sessions/launch-queue.ts';
import { SteppedClock } from '../../src/runtimes/fake/stepped-clock.ts';
import { openHarness } from './harness.ts';

const never = new AbortController().signal;
const [greedy, modest] = [makeId('tenant'), makeId('tenant')];

/** A queue whose launches take a second. */
async function secondsQueue(): Promise<LaunchQueue> {
  const clock = new SteppedClock();
  const queue = new LaunchQueue({ clock, places: 2, waitMaxMs: 5000 });
  const place = await queue.enter(never, greedy);
  await clock.advance(1000);
  place[Symbol.dispose]();
  return queue;
}

function admitAll(queue: LaunchQueue): { readonly admitted: Disposable[]; readonly refused: BulkheadError } {
  const admitted: Disposable[] = [];
  for (;;) {
    try {
      admitted.push(queue.admit(greedy, 1));
    } catch (error) {
      assert.ok(BulkheadError.is(error, 'capacity_exhausted'));
      return { admitted, refused: error };
    }
  }
}

test('who would wait for too long is told when to come back, and then finds a place', async () => {
  const queue = await secondsQueue();
  const { admitted, refused } = admitAll(queue);
  // Two at once and ten that wait for five seconds.
  assert.equal(admitted.length, 12);
  assert.deepEqual(refused.details, { retryAfterMs: 2750, waitMs: 5500 });
  admitted[0]?.[Symbol.dispose]();
  admitted[0]?.[Symbol.dispose]();
  queue.admit(greedy, 1);
  assert.throws(() => queue.admit(greedy, 1), { code: 'capacity_exhausted' }, 'a place is given back once');
});

test('a tenant that has none is admitted however many others there are of one tenant', async () => {
  const queue = await secondsQueue();
  admitAll(queue);
  queue.admit(modest, 1);
});

test('without a bound nobody is refused', async () => {
  const clock = new SteppedClock();
  const queue = new LaunchQueue({ clock, places: 1 });
  const place = await queue.enter(never, greedy);
  await clock.advance(10_000);
  place[Symbol.dispose]();
  for (let count = 0; count < 1000; count += 1) queue.admit(greedy, 1);
});

test('a session that is refused has never been, and those that have their machines count no more', async () => {
  const { sessions, clock, tenant } = openHarness({
    plan: () => ({ kind: 'ok', delayMs: 8000 }),
    launchWaitMaxMs: 8000,
  });
  const create = (): Promise<unknown> => sessions.createSession({ tenant });
  // Until one has been launched nobody knows how long that takes.
  const first = create();
  await clock.advance(8000);
  await first;
  const count = 50;
  const creating = Promise.allSettled(Array.from({ length: count }, create));
  for (let step = 0; step < 20; step += 1) await clock.advance(8000);
  const settled = await creating;
  const refused = settled.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason as unknown] : []));
  assert.ok(refused.length > 0 && refused.length < count);
  for (const error of refused) assert.ok(BulkheadError.is(error, 'capacity_exhausted'));
  assert.equal(sessions.listSessions(tenant).length, 1 + count - refused.length);
  const again = create();
  await clock.advance(8000);
  await again;
});
