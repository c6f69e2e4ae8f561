// Copies of a template's memory: one a tenant, shared by what a tenant runs at once, and bounded when nobody uses them. No processor runs
// on one that somebody could still write to.

import assert from 'node:assert/strict';
import { closeSync, fstatSync, ftruncateSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { duplexPair } from 'node:stream';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { loadAndRun } from '../../src/runtimes/qemu/qemu-launch.ts';
import { Qmp } from '../../src/runtimes/qemu/qmp.ts';
import {
  type IdleBounds,
  type TemplateMemory,
  TenantMemories,
  loadTemplateMemory,
} from '../../src/runtimes/qemu/template-memory.ts';

const idle = { maxCount: 2, keptCount: 2, keptMs: 60_000 };

function makeMemories(bounds: Partial<IdleBounds> = {}): { memories: TenantMemories; loaded: number[] } {
  const loaded: number[] = [];
  const load = (): TemplateMemory => {
    const fd = openSync('/dev/null', 'r');
    loaded.push(fd);
    return { fd, sealed: Promise.resolve([]) };
  };
  return { memories: new TenantMemories(load, { ...idle, ...bounds }), loaded };
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

async function closed(...fds: readonly (number | undefined)[]): Promise<void> {
  const deadline = performance.now() + 5000;
  while (fds.some((fd) => fd !== undefined && isOpen(fd))) {
    assert.ok(performance.now() < deadline, 'they are closed');
    await delay(1);
  }
}

test('a tenant has one copy, another tenant another', async () => {
  const { memories, loaded } = makeMemories();
  const [first, second, other] = [memories.acquire('a'), memories.acquire('a'), memories.acquire('b')];
  assert.equal(first.fd, second.fd);
  assert.notEqual(first.fd, other.fd);
  assert.equal(loaded.length, 2);
  for (const lease of [first, second, other]) lease[Symbol.dispose]();
  memories.close();
  await closed(...loaded);
});

test('of the copies that nobody uses, the last used ones are kept; one in use is never let go', async () => {
  const { memories, loaded } = makeMemories({ maxCount: 1, keptCount: 1 });
  const held = memories.acquire('held');
  for (const tenant of ['a', 'b', 'c']) memories.acquire(tenant)[Symbol.dispose]();
  await closed(loaded[1], loaded[2]);
  assert.deepEqual(loaded.map(isOpen), [true, false, false, true]);
  using again = memories.acquire('c');
  assert.equal(again.fd, loaded[3], 'the copy that was kept');
  memories.close();
  await settled();
  assert.ok(isOpen(held.fd) && isOpen(again.fd));
  held[Symbol.dispose]();
  held[Symbol.dispose]();
});

test('many are kept between two sessions, few when nobody has come back, none when the memory is needed', async () => {
  const { memories, loaded } = makeMemories({ maxCount: 3, keptCount: 1, keptMs: 50 });
  using held = memories.acquire('held');
  for (const tenant of ['a', 'b', 'c']) memories.acquire(tenant)[Symbol.dispose]();
  await settled();
  assert.deepEqual(loaded.map(isOpen), [true, true, true, true]);
  await closed(loaded[1], loaded[2]);
  assert.deepEqual(loaded.map(isOpen), [true, false, false, true]);
  assert.equal(await memories.giveWay(), true);
  assert.deepEqual(loaded.map(isOpen), [true, false, false, false]);
  assert.equal(await memories.giveWay(), false);
  assert.ok(isOpen(held.fd));
});

test('a failure is not kept, and its descriptor neither', async () => {
  let failures = 1;
  const memories = new TenantMemories(() => {
    const fd = openSync('/dev/null', 'r');
    return { fd, sealed: failures-- > 0 ? Promise.reject(new Error('no space')) : Promise.resolve([]) };
  }, idle);
  const failed = memories.acquire('a');
  await assert.rejects(failed.sealed, /no space/);
  assert.ok(isOpen(failed.fd), 'somebody holds it');
  failed[Symbol.dispose]();
  await closed(failed.fd);
  using again = memories.acquire('a');
  await again.sealed;
  again[Symbol.dispose]();
  memories.close();
});

test('a copy is not closed while it is being filled', async () => {
  const filling = Promise.withResolvers<readonly []>();
  const fd = openSync('/dev/null', 'r');
  const memories = new TenantMemories(() => ({ fd, sealed: filling.promise }), idle);
  memories.acquire('a')[Symbol.dispose]();
  memories.close();
  await settled();
  assert.ok(isOpen(fd));
  filling.resolve([]);
  await closed(fd);
});

test('a template is loaded hole for hole, keeps its size from the start, and is unwritable once it is sealed', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'bulkhead-memory-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'memory');
  const sizeBytes = 64 * 1024 * 1024;
  const pieces = [0, 5 * 4096, 33 * 1024 * 1024].map((offset, i) => ({
    offset,
    bytes: Buffer.alloc(4096 * (i + 1), i + 1),
  }));
  const file = openSync(path, 'w');
  ftruncateSync(file, sizeBytes);
  for (const { offset, bytes } of pieces) writeSync(file, bytes, 0, bytes.length, offset);
  closeSync(file);

  const { fd, sealed } = loadTemplateMemory(path, sizeBytes);
  t.after(() => closeSync(fd));
  assert.throws(() => ftruncateSync(fd, 4096), { code: 'EPERM' });
  await sealed;
  for (const { offset, bytes } of pieces) {
    const found = Buffer.alloc(bytes.length);
    readSync(fd, found, 0, found.length, offset);
    assert.ok(found.equals(bytes), `at ${offset}`);
  }
  const { size, blocks } = fstatSync(fd);
  assert.equal(size, sizeBytes);
  assert.equal(blocks * 512, 6 * 4096, 'the holes take nothing');
  for (const opened of [fd, openSync(`/proc/self/fd/${fd}`, 'r+')]) {
    assert.throws(() => writeSync(opened, Buffer.alloc(1), 0, 1, 0), { code: 'EPERM' });
    if (opened !== fd) closeSync(opened);
  }
});

test('a template that cannot be read is no template', async () => {
  const { fd, sealed } = loadTemplateMemory('/nowhere/memory', 4096);
  await assert.rejects(sealed, /ENOENT/);
  closeSync(fd);
});

test('QEMU is given no state to run from before the template is sealed', async () => {
  const [ours, qemus] = duplexPair();
  const commands: string[] = [];
  qemus.on('data', (chunk: Buffer) => {
    for (const line of chunk.toString('utf8').trim().split('\n')) {
      const { execute, id }: { execute: string; id: number } = JSON.parse(line);
      commands.push(execute);
      qemus.write(`${JSON.stringify({ return: {}, id })}\n`);
      if (execute === 'migrate-incoming') qemus.write('{"event":"MIGRATION","data":{"status":"completed"}}\n');
    }
  });
  const sealing = Promise.withResolvers<undefined>();
  const filled = Promise.withResolvers<undefined>();
  const running = loadAndRun(new Qmp(ours), sealing.promise, async () => {
    commands.push('(content)');
    await filled.promise;
  });
  for (let turn = 0; turn < 20; turn++) await settled();
  assert.deepEqual(commands, []);
  sealing.resolve(undefined);
  filled.resolve(undefined);
  await running;
  assert.deepEqual(commands, ['(content)', 'migrate-incoming', 'cont']);
});

test('a template that could not be sealed starts nothing', async () => {
  const [ours, qemus] = duplexPair();
  let said = '';
  qemus.on('data', (chunk: Buffer) => {
    said += chunk.toString('utf8');
    for (const { id } of chunk
      .toString('utf8')
      .trim()
      .split('\n')
      .map((line): { id: number } => JSON.parse(line)))
      qemus.write(`${JSON.stringify({ return: {}, id })}\n`);
  });
  const started = loadAndRun(new Qmp(ours), Promise.reject(new Error('no memory')), async () => undefined);
  await assert.rejects(started, /no memory/);
  assert.doesNotMatch(said, /migrate-incoming|"cont"/);
});
