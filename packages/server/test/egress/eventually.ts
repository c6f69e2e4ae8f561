import assert from 'node:assert/strict';
import { setTimeout } from 'node:timers/promises';

/** Waits for a condition; fails with `what` when it does not come true in time. */
export async function eventually(what: string, condition: () => boolean, timeoutMs = 10_000): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!condition()) {
    if (performance.now() > deadline) assert.fail(`not within ${timeoutMs} ms: ${what}`);
    await setTimeout(5);
  }
}
