// Copies of a template's memory: one a tenant, shared by what a tenant runs at once, and bounded when nobody uses them.

import assert from 'node:assert/strict';
import { fstatSync, openSync } from 'node:fs';
import { test } from 'node:test';
import { TenantMemories } from '../../src/runtimes/qemu/template-memory.ts';

function makeMemories(idleMaxCount: number): { memories: TenantMemories; loaded: number[] } {
  const loaded: number[] = [];
  const load = async (): Promise<number> => {
    const fd = openSync('/dev/null', 'r');
    loaded.push(fd);
    return fd;
  };
  return { memories: new TenantMemories(load, idleMaxCount), loaded };
}

function isOpen(fd: number): boolean {
  try {
    fstatSync(fd);
    return true;
  } catch {
    return false;
  }
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('a tenant has one copy, another tenant another', async () => {
  const { memories, loaded } = makeMemories(2);
  const [first, second, other] = await Promise.all([
    memories.acquire('a'),
    memories.acquire('a'),
    memories.acquire('b'),
  ]);
  assert.equal(first.fd, second.fd);
  assert.notEqual(first.fd, other.fd);
  assert.equal(loaded.length, 2);
  for (const lease of [first, second, other]) lease[Symbol.dispose]();
  memories.close();
  await settled();
  assert.deepEqual(loaded.map(isOpen), [false, false]);
});

test('of the copies that nobody uses, the last used ones are kept; one in use is never let go', async () => {
  const { memories, loaded } = makeMemories(1);
  const held = await memories.acquire('held');
  for (const tenant of ['a', 'b', 'c']) (await memories.acquire(tenant))[Symbol.dispose]();
  await settled();
  assert.deepEqual(loaded.map(isOpen), [true, false, false, true]);
  using again = await memories.acquire('c');
  assert.equal(again.fd, loaded[3], 'the copy that was kept');
  memories.close();
  await settled();
  assert.ok(isOpen(held.fd) && isOpen(again.fd));
  held[Symbol.dispose]();
  held[Symbol.dispose]();
});

test('a failure is not kept', async () => {
  let failures = 1;
  const memories = new TenantMemories(async () => {
    if (failures-- > 0) throw new Error('no space');
    return openSync('/dev/null', 'r');
  });
  await assert.rejects(memories.acquire('a'), /no space/);
  (await memories.acquire('a'))[Symbol.dispose]();
  memories.close();
});
