// Another process's memory: many pieces with one call, and nothing where there is none.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { type MemoryRange, copyFromProcess, copyToProcess } from '../../src/lib/host-calls.ts';

const pageBytes = 4096;
const pages = 5000;
/** Says where its memory is, then, whenever it is asked for a page, the first byte of that page and its last. */
const program = `
import ctypes, mmap, sys
memory = mmap.mmap(-1, ${pages * pageBytes})
for page in range(${pages}):
    memory[page * ${pageBytes}] = page % 251
    memory[(page + 1) * ${pageBytes} - 1] = page % 241
print(ctypes.addressof(ctypes.c_char.from_buffer(memory)), flush=True)
for line in sys.stdin:
    page = int(line)
    print(memory[page * ${pageBytes}], memory[(page + 1) * ${pageBytes} - 1], flush=True)
`;

interface Other {
  readonly pid: number;
  readonly rangeOf: (page: number, count: number) => MemoryRange;
  readonly look: (page: number) => Promise<string>;
}

async function openOther(t: TestContext): Promise<Other> {
  const child = spawn('python3', ['-c', program], { stdio: ['pipe', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  const lines = createInterface(child.stdout);
  const [text] = (await once(lines, 'line')) as [string];
  const address = Number(text);
  return {
    pid: child.pid ?? 0,
    rangeOf: (page, count) => ({ address: address + page * pageBytes, length: count * pageBytes }),
    look: async (page) => {
      child.stdin.write(`${page}\n`);
      const [seen] = (await once(lines, 'line')) as [string];
      return seen;
    },
  };
}

test('more pieces than one call takes are read, and written, each in its place', async (t) => {
  const { pid, rangeOf, look } = await openOther(t);
  const odd = Array.from({ length: pages / 2 }, (_, index) => 2 * index + 1);
  const bytes = Buffer.alloc(odd.length * pageBytes);
  copyFromProcess(
    pid,
    odd.map((page) => rangeOf(page, 1)),
    bytes,
  );
  for (const [index, page] of odd.entries()) {
    assert.equal(bytes[index * pageBytes], page % 251);
    assert.equal(bytes[(index + 1) * pageBytes - 1], page % 241);
  }
  bytes.fill(255);
  copyToProcess(
    pid,
    odd.map((page) => rangeOf(page, 1)),
    bytes,
  );
  assert.equal(await look(4999), '255 255');
  assert.equal(await look(1), '255 255');
  assert.equal(await look(2500), `${2500 % 251} ${2500 % 241}`, 'what lies between is as it was');
});

test('where there is no memory nothing is made up', async (t) => {
  const { pid, rangeOf } = await openOther(t);
  const bytes = Buffer.alloc(2 * pageBytes);
  assert.throws(
    () => copyFromProcess(pid, [rangeOf(pages - 1, 1), { address: 4096, length: pageBytes }], bytes),
    Error,
  );
  assert.throws(() => copyToProcess(pid, [{ address: 4096, length: pageBytes }], bytes), /process_vm_writev/);
  assert.throws(() => copyFromProcess(pid, [rangeOf(0, 3)], bytes), RangeError);
  assert.throws(() => copyFromProcess(2 ** 22 + 1, [rangeOf(0, 1)], bytes), /process_vm_readv/);
});
