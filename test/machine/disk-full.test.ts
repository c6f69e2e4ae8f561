// A disk that fills up while a session is written out, and has room again later: nothing is lost, and nothing half-made stays.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { BulkheadError } from '@bulkhead/protocol';
import { loadConfig, localTenant, openBulkhead } from '@bulkhead/server';

const skip = process.getuid?.() === 0 ? false : 'only root can mount a small file system';
const tight = '8m';
const ample = '512m';

test('a session that the disk has no room for goes on, and sleeps when there is room', { skip }, async () => {
  const stateDir = mkdtempSync(join(tmpdir(), 'bulkhead-full-'));
  const snapshots = join(stateDir, 'snapshots');
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => rmSync(stateDir, { recursive: true }));
  mkdirSync(snapshots, { mode: 0o700 });
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${tight},mode=0700`, 'tmpfs', snapshots]);
  cleanup.defer(() => void execFileSync('umount', [snapshots]));
  const { sessions, runtime } = cleanup.use(
    await openBulkhead(loadConfig({ ...process.env, BULKHEAD_STATE_DIR: stateDir }), { keep: true }),
  );
  await runtime.prepare('small', { onProgress: (message) => console.error(message) });
  const tenant = localTenant;
  const { id } = await sessions.createSession({ tenant });
  const run = async (code: string): Promise<string> =>
    (await (await sessions.takeTurn(tenant, id, { code })).result).stdout.trim();
  await run('import os; kept = os.urandom(15_000_000); before = hash(kept)');

  for (const act of [() => sessions.suspendSession(tenant, id), () => sessions.checkpointSession(tenant, id, 'one')]) {
    await assert.rejects(act, (error) => BulkheadError.is(error, 'disk_full'));
    assert.equal(sessions.getSession(tenant, id).state, 'ready');
    assert.equal(await run('print(hash(kept) == before)'), 'True');
    assert.deepEqual(
      readdirSync(snapshots, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()),
      [],
    );
    assert.deepEqual(await sessions.listCheckpoints(tenant, id), []);
  }

  execFileSync('mount', ['-o', `remount,size=${ample}`, snapshots]);
  assert.equal((await sessions.suspendSession(tenant, id)).state, 'suspended');
  assert.equal(await run('print(hash(kept) == before)'), 'True');
  await sessions.terminateSession(tenant, id);
});
