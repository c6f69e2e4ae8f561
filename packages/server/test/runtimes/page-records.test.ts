// Memory is written as what differs from its template, and comes back as it was: here it is the test's own, with the pages that matter by seed.

import assert from 'node:assert/strict';
import { closeSync, fstatSync, ftruncateSync, writeSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import koffi from 'koffi';
import { type Extent, createMemory, dataExtents } from '../../src/lib/host-calls.ts';
import { mulberry32 } from '../../src/runtimes/fake/fake-runtime.ts';
import {
  type MachineMemory,
  pageKinds,
  restorePages,
  splitRuns,
  writePages,
} from '../../src/runtimes/qemu/page-records.ts';
import { type PageRun, pageBytes } from '../../src/runtimes/qemu/touched-pages.ts';
import { SealedReader, SealedWriter } from '../../src/snapshots/sealed-file.ts';
import { header, key } from '../snapshots/test-header.ts';

const pages = 2000;
const bytes = pages * pageBytes;

function memoryOf(buffer: Buffer): MachineMemory {
  return { pid: process.pid, address: Number(koffi.address(buffer)), bytes: buffer.length };
}

function file(t: TestContext): number {
  const fd = createMemory('page-records-test');
  t.after(() => closeSync(fd));
  return fd;
}

/** A template of which every other stretch of pages holds nothing. */
function makeTemplate(t: TestContext, random: () => number): { readonly fd: number; readonly content: Buffer } {
  const [fd, content] = [file(t), Buffer.alloc(bytes)];
  ftruncateSync(fd, bytes);
  for (let page = 0; page < pages; page += 1 + Math.floor(random() * 40)) {
    const count = Math.min(1 + Math.floor(random() * 40), pages - page);
    for (let at = page * pageBytes; at < (page + count) * pageBytes; at += 4)
      content.writeUInt32LE(random() * 2 ** 32, at);
    writeSync(fd, content, page * pageBytes, count * pageBytes, page * pageBytes);
    page += count;
  }
  return { fd, content };
}

const changes: readonly ((page: Buffer, random: () => number) => void)[] = [
  () => undefined,
  (page) => void page.fill(0),
  (page, random) => void page.writeUInt8(1 + Math.floor(random() * 255), Math.floor(random() * pageBytes)),
  ...[2, 40, 255, 256, 257, 600, 1024].map((words) => (page: Buffer, random: () => number) => {
    for (let word = 0; word < words; word++) {
      const at = words === 1024 ? word * 4 : Math.floor(random() * 1024) * 4;
      page.writeUInt32LE(random() * 2 ** 32, at);
    }
  }),
];

test('what was written to comes back, whatever was changed and however little, by seed', (t) => {
  const seed = 20_261_129;
  const random = mulberry32(seed);
  const template = makeTemplate(t, random);
  const machine = Buffer.from(template.content);
  const runs: PageRun[] = [];
  for (let page = 0; page < pages;) {
    const count = Math.min(1 + Math.floor(random() * 8), pages - page);
    if (random() < 0.6) {
      runs.push({ first: page, count });
      for (let each = page; each < page + count; each++) {
        const change = changes[Math.floor(random() * changes.length)];
        change?.(machine.subarray(each * pageBytes, (each + 1) * pageBytes), random);
      }
    }
    page += count;
  }
  const target = file(t);
  using writer = new SealedWriter(target, key, header);
  writePages(writer, memoryOf(machine), runs, { memory: template.fd, data: dataExtents(template.fd, bytes) });
  writer.finish();
  const restored = Buffer.from(template.content);
  using reader = SealedReader.open(target, key, header);
  for (const record of reader.records()) restorePages(record.kind, record.bytes, memoryOf(restored));
  assert.ok(restored.equals(machine), `seed ${seed}`);
});

test('of a page of which a few words differ no more than those are kept, and nothing of one that is as it was', (t) => {
  const template = makeTemplate(t, mulberry32(1));
  const machine = Buffer.from(template.content);
  for (let page = 0; page < pages; page += 2) machine.writeUInt32LE(0x1234_5678, page * pageBytes + 400);
  const target = file(t);
  using writer = new SealedWriter(target, key, header);
  const data = [{ offset: 0, length: bytes }];
  writePages(writer, memoryOf(machine), [{ first: 0, count: pages }], { memory: template.fd, data });
  writer.finish();
  assert.ok(fstatSync(target).size < 20 * pages, `${fstatSync(target).size} bytes for ${pages} pages`);
});

test('runs are told apart by whether the template has something there', () => {
  const page = (first: number, count: number): Extent => ({ offset: first * pageBytes, length: count * pageBytes });
  const data = [page(2, 3), { offset: 10 * pageBytes + 100, length: 50 }, page(20, 100)];
  assert.deepEqual(
    splitRuns(
      [
        { first: 0, count: 4 },
        { first: 4, count: 8 },
        { first: 30, count: 5 },
      ],
      data,
    ),
    {
      changed: [
        { first: 2, count: 2 },
        { first: 4, count: 1 },
        { first: 10, count: 1 },
        { first: 30, count: 5 },
      ],
      fresh: [
        { first: 0, count: 2 },
        { first: 5, count: 5 },
        { first: 11, count: 1 },
      ],
    },
  );
  assert.deepEqual(splitRuns([{ first: 7, count: 2 }], []), { changed: [], fresh: [{ first: 7, count: 2 }] });
});

test('a record that is not one for this machine is refused before anything is written', () => {
  const machine = Buffer.alloc(4 * pageBytes, 5);
  const before = Buffer.from(machine);
  const patch = (page: number, count: number, place: number, length = 12): Buffer => {
    const record = Buffer.alloc(length);
    record.writeUInt32BE(page);
    record.writeUInt16BE(count, 4);
    record.writeUInt16BE(place, 6);
    return record;
  };
  const run = (first: number, count: number): Buffer => {
    const record = Buffer.alloc(12 + pageBytes);
    record.writeUInt32BE(1);
    record.writeUInt32BE(first, 4);
    record.writeUInt32BE(count, 8);
    return record;
  };
  const wrong: readonly (readonly [kind: number, record: Buffer])[] = [
    [pageKinds.patches, patch(4, 1, 0)],
    [pageKinds.patches, patch(0xffff_ffff, 1, 0)],
    [pageKinds.patches, patch(0, 2, 0)],
    [pageKinds.patches, patch(0, 1, 1024)],
    [pageKinds.patches, patch(0, 1, 0, 13)],
    [pageKinds.patches, Buffer.alloc(6 * 1000)],
    [pageKinds.pages, run(4, 1)],
    [pageKinds.pages, run(0, 2)],
    [pageKinds.zeros, run(3, 2)],
    [pageKinds.zeros, Buffer.alloc(3)],
    [99, run(0, 1)],
  ];
  for (const [kind, record] of wrong) {
    assert.throws(() => restorePages(kind, record, memoryOf(machine)), RangeError);
    assert.ok(machine.equals(before));
  }
  restorePages(pageKinds.patches, patch(1, 1, 0), memoryOf(machine));
  assert.equal(machine.readUInt32LE(pageBytes), 0, 'the control: one that is');
});
