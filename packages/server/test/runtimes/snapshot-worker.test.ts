// Snapshots are read before their machine is there: what was read is used once or let go, and nothing is used that is not whole.

import assert from 'node:assert/strict';
import { closeSync, fstatSync, ftruncateSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { createMemory } from '../../src/lib/host-calls.ts';
import type { OpenJob } from '../../src/runtimes/qemu/snapshot-content.ts';
import { SnapshotWorker } from '../../src/runtimes/qemu/snapshot-worker.ts';
import { SealedWriter } from '../../src/snapshots/sealed-file.ts';
import { header, key } from '../snapshots/test-header.ts';

/** No machine: whoever gets so far as to look for its memory finds none. */
const noMachine = { pid: process.pid, memoryBytes: 4096, scratch: -1, scratchBytes: 0, deviceState: -1 };
const noMemory = /the machine's memory is not mapped/;

function writeSnapshot(t: TestContext): OpenJob {
  const source = createMemory('snapshot-worker-test');
  t.after(() => closeSync(source));
  using writer = new SealedWriter(source, key, header);
  for (let record = 0; record < 200; record++) writer.write(1, Buffer.alloc(1000, record));
  writer.finish();
  return { type: 'open', source, key, expected: header };
}

test('what was read is used once', async (t) => {
  await using worker = new SnapshotWorker();
  await using opening = worker.open(writeSnapshot(t));
  await assert.rejects(opening.restore(noMachine), noMemory);
  await assert.rejects(opening.restore(noMachine), /not open/);
});

test('what was read for a machine that never came is let go', async (t) => {
  await using worker = new SnapshotWorker();
  const job = writeSnapshot(t);
  const opening = worker.open(job);
  await opening[Symbol.asyncDispose]();
  await assert.rejects(opening.restore(noMachine), /not open/);
  await using another = worker.open(job);
  await assert.rejects(another.restore(noMachine), noMemory, 'the control: it could have been used');
});

test('a snapshot that is cut, or sealed with another key, is refused before its machine is touched', async (t) => {
  await using worker = new SnapshotWorker();
  const job = writeSnapshot(t);
  await using foreign = worker.open({ ...job, key: new Uint8Array(32) });
  await assert.rejects(foreign.restore(noMachine), { code: 'snapshot_invalid' });
  ftruncateSync(job.source, fstatSync(job.source).size - 1);
  await using cut = worker.open(job);
  await assert.rejects(cut.restore(noMachine), { code: 'snapshot_invalid' });
  await using elsewhere = worker.open({ ...job, expected: { ...job.expected, vmm: '8.2.0' } });
  await assert.rejects(elsewhere.restore(noMachine), { code: 'snapshot_incompatible' });
});
