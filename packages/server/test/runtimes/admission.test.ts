import assert from 'node:assert/strict';
import { tmpdir } from 'node:os';
import { test } from 'node:test';
import { BulkheadError, sizes } from '@bulkhead/protocol';
import { checkRoom, overheadMib, readRoom, reserveMib } from '../../src/runtimes/admission.ts';

const mib = 1024 * 1024;
const plenty = 1e12;

test('a machine is refused one byte below what it may use, with a time to try again', () => {
  for (const size of ['small', 'large'] as const) {
    const needed = (sizes[size].memoryMib + overheadMib + reserveMib) * mib;
    checkRoom({ availableMemoryBytes: needed, freeDiskBytes: plenty }, size);
    assert.throws(
      () => checkRoom({ availableMemoryBytes: needed - 1, freeDiskBytes: plenty }, size),
      (error: unknown) => {
        assert.ok(BulkheadError.is(error, 'capacity_exhausted'));
        assert.ok(Number(error.details?.['retryAfterMs']) > 0);
        return /memory/.test(error.message);
      },
    );
  }
  assert.throws(() => checkRoom({ availableMemoryBytes: plenty, freeDiskBytes: reserveMib * mib - 1 }, 'small'), {
    code: 'capacity_exhausted',
    message: /disk space/,
  });
});

test('the room of this host is read', async () => {
  const { availableMemoryBytes, freeDiskBytes } = await readRoom(tmpdir());
  assert.ok(availableMemoryBytes > mib && freeDiskBytes > 0);
  await assert.rejects(readRoom('/nowhere'), { code: 'ENOENT' });
});
