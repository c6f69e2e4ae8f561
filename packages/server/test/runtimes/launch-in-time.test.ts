import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BulkheadError, limits } from '@bulkhead/protocol';
import { launchInTime } from '../../src/runtimes/launch-in-time.ts';

test('a guest that does not answer while it is launched was not ready in time; what else fails is a failure', async () => {
  const launch = (code: 'guest_unresponsive' | 'guest_protocol_violation'): Promise<never> =>
    launchInTime(undefined, () => Promise.reject(new BulkheadError(code, 'no answer to IDENTIFY')));
  await assert.rejects(launch('guest_unresponsive'), {
    code: 'launch_timeout',
    details: { retryAfterMs: limits.launchTimeoutMs },
  });
  await assert.rejects(launch('guest_protocol_violation'), { code: 'launch_failed' });
});
