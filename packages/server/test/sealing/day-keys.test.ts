import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { makeId } from '@bulkhead/protocol';
import { assert as checkAll, property, string, nat } from 'fast-check';
import { SteppedClock } from '../../src/runtimes/fake/stepped-clock.ts';
import { DayKeys } from '../../src/sealing/day-keys.ts';
import { openText, sealText } from '../../src/sealing/sealed-text.ts';
import { LocalKeyFile } from '../../src/snapshots/key-encryption.ts';

const root = mkdtempSync(join(tmpdir(), 'bulkhead-day-keys-'));
after(() => rmSync(root, { recursive: true }));
const encryption = await LocalKeyFile.open(join(root, 'key'), { create: true });
const key = Buffer.alloc(32, 7);
const whom = { tenant: makeId('tenant'), sealedWith: '2026-11-25.a', what: 'turn x events 0' };

test('a sealed text opens as what it was, with its key, and as nothing else', () => {
  checkAll(
    property(string({ unit: 'binary' }), nat(), (text, place) => {
      const sealed = sealText(key, whom, text);
      assert.equal(openText(key, whom, sealed), text.toWellFormed());
      const changed = Buffer.from(sealed);
      const at = place % changed.length;
      changed[at] = (changed[at] ?? 0) ^ (1 << (place % 8));
      for (const wrong of [changed, sealed.subarray(0, at), Buffer.concat([sealed, Buffer.of(0)])]) {
        assert.throws(() => openText(key, whom, wrong), { code: 'key_unavailable' });
      }
    }),
  );
  const sealed = sealText(key, whom, 'text');
  const others = [{ tenant: makeId('tenant') }, { sealedWith: '2026-11-26.a' }, { what: 'turn x events 1' }];
  for (const other of others)
    assert.throws(() => openText(key, { ...whom, ...other }, sealed), { code: 'key_unavailable' });
  assert.throws(() => openText(Buffer.alloc(32, 8), whom, sealed), { code: 'key_unavailable' });
  assert.notDeepEqual(sealText(key, whom, 'text'), sealed, 'the same text is never the same twice');
});

function open(directory: string, host: string, clock = new SteppedClock()): DayKeys {
  return new DayKeys({ directory: join(root, directory), host, encryption, clock });
}

test('a host makes its own keys and reads the others’; a key that is gone is made again by nobody who reads', async () => {
  const tenant = makeId('tenant');
  const [one, two] = [open('shared', 'one'), open('shared', 'two')];
  const mine = { tenant, sealedWith: one.today(), what: 'x' };
  const sealed = await one.seal(mine, 'said');
  assert.equal(await two.open(mine, sealed), 'said');
  await assert.rejects(
    two.seal({ ...mine, tenant: makeId('tenant') }, 'x'),
    { code: 'key_unavailable' },
    'not its own',
  );
  await assert.rejects(open('apart', 'two').open(mine, sealed), { code: 'key_unavailable' });
  const path = join(root, 'shared', `${tenant}.${one.today()}.key`);
  const file = readFileSync(path);
  await one.destroy({ tenant, name: one.today() });
  await one.destroy({ tenant, name: one.today() });
  await assert.rejects(one.open(mine, sealed), { code: 'key_unavailable' });
  assert.equal(await two.open(mine, sealed), 'said', 'it still remembers');
  assert.deepEqual(await two.list(), []);
  await assert.rejects(two.open(mine, sealed), { code: 'key_unavailable' }, 'until it looks');
  assert.ok(!readdirSync(join(root, 'shared')).length);
  // The control: with the file that was there, it could be read.
  writeFileSync(path, file);
  assert.equal(await two.open(mine, sealed), 'said');
});

test('many at once make one key, and each day has its own', async () => {
  const tenant = makeId('tenant');
  const clock = new SteppedClock();
  const keys = open('days', 'one', clock);
  const sealedWith = keys.today();
  const sealed = await Promise.all(Array.from({ length: 50 }, () => keys.seal({ tenant, sealedWith, what: 'x' }, 'x')));
  const again = open('days', 'one', clock);
  for (const each of sealed) assert.equal(await again.open({ tenant, sealedWith, what: 'x' }, each), 'x');
  await clock.advance(86_400_000);
  assert.notEqual(keys.today(), sealedWith);
  await keys.seal({ tenant, sealedWith: keys.today(), what: 'x' }, 'x');
  const [first, second] = (await keys.list()).toSorted((a, b) => a.endsAtUnixMs - b.endsAtUnixMs);
  assert.equal((second?.endsAtUnixMs ?? 0) - (first?.endsAtUnixMs ?? 0), 86_400_000);
});

test('names that lead elsewhere are none, and what does not belong there is left alone', async () => {
  const directory = join(root, 'names');
  mkdirSync(directory);
  const [young, old] = ['.1-2.00000000000000aa', '.1-2.00000000000000bb'];
  for (const name of ['notes.txt', 'ten_x.2026-11-25.a.key', '.hidden', young, old]) {
    writeFileSync(join(directory, name), 'x');
  }
  const clock = new SteppedClock();
  const keys = open('names', 'a', clock);
  const moment = (days: number): Date => new Date(clock.unixMs() - days * 86_400_000);
  utimesSync(join(directory, young), moment(0.5), moment(0.5));
  utimesSync(join(directory, old), moment(1.5), moment(1.5));
  assert.deepEqual(await keys.list(), []);
  assert.deepEqual(readdirSync(directory).toSorted(), [
    '.1-2.00000000000000aa',
    '.hidden',
    'notes.txt',
    'ten_x.2026-11-25.a.key',
  ]);
  for (const sealedWith of ['../../etc/passwd', '2026-11-25./a', '2026-11-25', '']) {
    await assert.rejects(keys.seal({ tenant: makeId('tenant'), sealedWith, what: 'x' }, 'x'), {
      code: 'key_unavailable',
    });
  }
  await assert.rejects(keys.seal({ tenant: '../x', sealedWith: keys.today(), what: 'x' }, 'x'), {
    code: 'key_unavailable',
  });
});
