// Copies of a template's memory that nobody uses are there for the next session of their tenant, and give way to a machine that needs the room.

import assert from 'node:assert/strict';
import { readdirSync, readlinkSync } from 'node:fs';
import { test } from 'node:test';
import { makeId } from '@bulkhead/protocol';
import { loadConfig } from '@bulkhead/server';
import { createQemuRuntime } from '../../packages/server/src/runtimes/qemu/qemu-runtime.ts';
import { findQemu } from '../../packages/server/src/runtimes/qemu/qemu-program.ts';

function templateCopies(): number {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith('/memfd:bulkhead-template');
    } catch {
      return false; // it was the folder's own
    }
  }).length;
}

test('a machine that the host has no room for takes that of copies that nobody uses', async () => {
  const plenty = { availableMemoryBytes: 2 ** 40, freeDiskBytes: 2 ** 40 };
  const none = { ...plenty, availableMemoryBytes: 0 };
  let roomWith = 2;
  await using runtime = await createQemuRuntime({
    ...loadConfig(),
    qemu: findQemu(),
    readRoom: async () => (templateCopies() <= roomWith ? plenty : none),
  });
  const launch = async (): ReturnType<typeof runtime.launch> =>
    runtime.launch({ tenant: makeId('tenant'), session: makeId('session'), size: 'small' });
  await using held = await launch();
  await (await launch())[Symbol.asyncDispose]();
  assert.equal(templateCopies(), 2, 'the control: one is in use, one is not');
  roomWith = 1;
  await (await launch())[Symbol.asyncDispose]();
  assert.ok((await held.guest.info()).memoryFreeBytes > 0, 'what is in use stays');
  roomWith = 0;
  await assert.rejects(launch(), { code: 'capacity_exhausted' });
});
