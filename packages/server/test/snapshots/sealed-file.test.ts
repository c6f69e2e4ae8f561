import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { closeSync, fstatSync, ftruncateSync, mkdtempSync, openSync, readSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { BulkheadError, makeId } from '@bulkhead/protocol';
import { createMemory } from '../../src/lib/host-calls.ts';
import { mulberry32 } from '../../src/runtimes/fake/fake-runtime.ts';
import {
  type SnapshotHeader,
  SealedReader,
  SealedWriter,
  recordMaxBytes,
  snapshotVersion,
} from '../../src/snapshots/sealed-file.ts';
import { header, key } from './test-header.ts';

const records = Array.from({ length: 6 }, (_, index) => Buffer.alloc(200 + (index % 2), index + 1));

const fd = createMemory('sealed-file-test');
after(() => closeSync(fd));

function put(bytes: Uint8Array): void {
  ftruncateSync(fd, 0);
  if (bytes.length > 0) writeSync(fd, bytes, 0, bytes.length, 0);
}

/** What is written for a header and a key. */
function seal(what: SnapshotHeader = header, with_: Uint8Array = key): Buffer {
  put(Buffer.alloc(0));
  using writer = new SealedWriter(fd, with_, what);
  for (const [index, bytes] of records.entries()) writer.write(index % 3, bytes);
  const { bytes } = writer.finish();
  const file = Buffer.alloc(bytes);
  assert.equal(readSync(fd, file, 0, bytes, 0), bytes);
  return file;
}

function read(with_: Uint8Array = key): { readonly kind: number; readonly bytes: Buffer }[] {
  return [...SealedReader.open(fd, with_, header).records()].map(({ kind, bytes }) => ({
    kind,
    bytes: Buffer.from(bytes),
  }));
}

test('what was sealed comes back, and none of it can be seen in the file', () => {
  const file = seal();
  assert.deepEqual(
    read().map(({ bytes }) => bytes),
    records,
  );
  for (const record of records) assert.equal(file.indexOf(record.subarray(0, 16)), -1);
  assert.notDeepEqual(seal(), file, 'no two files are sealed alike');
});

test('files of many megabytes, from records of all lengths, put together in place or from pieces', (context) => {
  const seed = 20_261_128;
  const random = mulberry32(seed);
  const target = openSync(join(mkdtempSync(join(tmpdir(), 'bulkhead-sealed-')), 'file'), 'w+');
  context.after(() => closeSync(target));
  using writer = new SealedWriter(target, key, header);
  const digests: string[] = [];
  for (let index = 0; index < 40; index++) {
    const bytes = Buffer.alloc(1 + Math.floor(random() * recordMaxBytes), index + 1);
    digests.push(createHash('sha256').update(bytes).digest('hex'));
    if (index % 2 === 0) {
      const cut = Math.floor(random() * bytes.length);
      writer.write(index, bytes.subarray(0, cut), bytes.subarray(cut));
    } else writer.seal(index, bytes.copy(writer.space));
  }
  const { bytes } = writer.finish();
  assert.equal(fstatSync(target).size, bytes);
  using reader = SealedReader.open(target, key, header);
  const opened = [...reader.records()];
  assert.deepEqual(
    opened.map((record) => createHash('sha256').update(record.bytes).digest('hex')),
    digests,
    `seed ${seed}: what was read stays as it was read`,
  );
  assert.deepEqual(
    opened.map(({ kind }) => kind),
    digests.map((_, index) => index),
  );
});

test('1,000 changed files, by seed: none is read to its end', (context) => {
  const seed = 20_261_124;
  const random = mulberry32(seed);
  const pick = (below: number): number => Math.floor(random() * below);
  const whole = seal();
  const changes: readonly ((file: Buffer) => Buffer)[] = [
    (file) => {
      const at = pick(file.length);
      file[at] = (file[at] ?? 0) ^ (1 << pick(8));
      return file;
    },
    (file) => file.subarray(0, pick(file.length)),
    (file) => Buffer.concat([file, Buffer.alloc(1 + pick(100), pick(256))]),
    (file) => {
      // Two stretches of the file change places: two whole records, at best.
      const length = 217 + pick(20);
      const [a, b] = [pick(file.length - 2 * length), file.length - length - pick(300)];
      const first = Buffer.from(file.subarray(a, a + length));
      file.copyWithin(a, b, b + length);
      first.copy(file, b);
      return file;
    },
    (file) => {
      const from = pick(file.length);
      return Buffer.concat([file.subarray(0, from), file.subarray(from + 1 + pick(400))]);
    },
  ];
  const codes = new Map<string, number>();
  for (let round = 0; round < 1000; round++) {
    const change = changes[round % changes.length];
    assert.ok(change);
    const changed = change(Buffer.from(whole));
    if (changed.equals(whole)) continue;
    put(changed);
    assert.throws(
      () => read(),
      (error: unknown) => {
        assert.ok(BulkheadError.is(error), `seed ${seed}, round ${round}: ${String(error)}`);
        codes.set(error.code, (codes.get(error.code) ?? 0) + 1);
        return error.code === 'snapshot_invalid' || error.code === 'snapshot_incompatible';
      },
      `seed ${seed}, round ${round}`,
    );
  }
  context.diagnostic(JSON.stringify(Object.fromEntries(codes)));
});

test("another key, another session's file and an older epoch are refused", () => {
  const others: readonly [string, SnapshotHeader, Uint8Array][] = [
    ['key', header, Buffer.alloc(32, 8)],
    ['tenant', { ...header, tenant: makeId('tenant') }, key],
    ['session', { ...header, session: makeId('session') }, key],
    ['snapshot', { ...header, snapshot: makeId('snapshot') }, key],
    ['epoch', { ...header, epoch: 2 }, key],
  ];
  for (const [what, other, otherKey] of others) {
    seal(other, otherKey);
    assert.throws(() => read(), { code: 'snapshot_invalid' }, what);
  }
  for (const other of [{ templateDigest: 'b'.repeat(64) }, { vmm: '8.0.0' }, { version: snapshotVersion - 1 }]) {
    seal({ ...header, ...other });
    assert.throws(() => read(), { code: 'snapshot_incompatible' });
  }
});

test('a record is at most 1 MiB', () => {
  using writer = new SealedWriter(fd, key, header);
  assert.throws(() => writer.write(0, Buffer.alloc(recordMaxBytes + 1)), RangeError);
  assert.throws(() => writer.write(0, Buffer.alloc(0)), RangeError);
  assert.throws(() => writer.write(255, Buffer.alloc(1)), RangeError);
  assert.throws(() => writer.seal(0, recordMaxBytes + 1), RangeError);
});
