import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { type SessionId, makeId } from '@bulkhead/protocol';
import { LocalKeyFile } from '../../src/snapshots/key-encryption.ts';
import { KeyRing } from '../../src/snapshots/key-ring.ts';

const directory = mkdtempSync(join(tmpdir(), 'bulkhead-keys-'));
after(() => rmSync(directory, { recursive: true }));
const tenant = makeId('tenant');

async function ring(name: string): Promise<KeyRing> {
  return new KeyRing(join(directory, name), await LocalKeyFile.open(join(directory, `${name}.key`), { create: true }));
}

async function keyOf(keys: KeyRing, session: SessionId, of = tenant): Promise<Buffer> {
  using open = await keys.open(of, session);
  return Buffer.from(open.key);
}

test('a session keeps its key, wiped after use; another session has another', async () => {
  const keys = await ring('keep');
  const [one, two] = [makeId('session'), makeId('session')];
  const made = await keys.ensure(tenant, one);
  const first = Buffer.from(made.key);
  made[Symbol.dispose]();
  assert.deepEqual(Buffer.from(made.key), Buffer.alloc(32));
  (await keys.ensure(tenant, two))[Symbol.dispose]();
  assert.deepEqual(await keyOf(keys, one), first);
  assert.notDeepEqual(await keyOf(keys, two), first);
  assert.equal(readFileSync(join(directory, 'keep', `${one}.key`)).indexOf(first), -1, 'it lies there wrapped');
  assert.deepEqual(new Set(await keys.list()), new Set([one, two]));
});

test('a key that is destroyed is gone, and its file with it', async () => {
  const keys = await ring('destroy');
  const session = makeId('session');
  (await keys.ensure(tenant, session))[Symbol.dispose]();
  await keys.destroy(session);
  await keys.destroy(session);
  await assert.rejects(keyOf(keys, session), { code: 'key_unavailable' });
  assert.deepEqual(readdirSync(join(directory, 'destroy')), []);
});

test("a key is not another session's or tenant's, however its file is moved", async () => {
  const keys = await ring('swap');
  const [one, two] = [makeId('session'), makeId('session')];
  for (const session of [one, two]) (await keys.ensure(tenant, session))[Symbol.dispose]();
  await assert.rejects(keyOf(keys, one, makeId('tenant')), { code: 'key_unavailable' });
  const path = (session: SessionId): string => join(directory, 'swap', `${session}.key`);
  writeFileSync(path(one), readFileSync(path(two)));
  await assert.rejects(keyOf(keys, one), { code: 'key_unavailable' });
});

test('a key file that is missing, wrong, open to others or a link is refused', async () => {
  const path = join(directory, 'file.key');
  const open = (create = false): Promise<LocalKeyFile> => LocalKeyFile.open(path, { create });
  await assert.rejects(open(), { code: 'key_unavailable' });
  const original = await open(true);
  const wrapped = await original.wrap(Buffer.alloc(32, 1), { session: 'a' });
  assert.deepEqual(
    await (await open(true)).unwrap(wrapped, { session: 'a' }),
    Buffer.alloc(32, 1),
    'it is not replaced',
  );
  const bytes = readFileSync(path);
  writeFileSync(path, Buffer.alloc(32, 9));
  await assert.rejects((await open()).unwrap(wrapped, { session: 'a' }), { code: 'key_unavailable' });
  writeFileSync(path, bytes.subarray(1));
  await assert.rejects(open(), { code: 'key_unavailable' });
  writeFileSync(path, bytes);
  chmodSync(path, 0o640);
  await assert.rejects(open(), { code: 'key_unavailable' });
  chmodSync(path, 0o600);
  const link = join(directory, 'link.key');
  symlinkSync(path, link);
  await assert.rejects(LocalKeyFile.open(link, { create: false }), { code: 'key_unavailable' });
});
