import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { type ExamineOptions, examineHost } from '../../src/doctor/examine-host.ts';
import { openHost } from '../../src/doctor/host-access.ts';
import { checkStatuses } from '../../src/doctor/host-report.ts';
import { fakeHost } from './fake-host.ts';

const options: ExamineOptions = {
  cacheDir: tmpdir(),
  probeAccelerator: async () => ({ accelerator: 'tcg', proof: 'a guest under KVM said nothing for 2 s.' }),
  trySealedMemory: async () => 'Sealed memory refuses writes.',
};

test('this very host: every check answers in time, and the report survives JSON', async () => {
  const started = performance.now();
  const report = await examineHost(options);
  assert.ok(performance.now() - started < 10_000);
  assert.deepEqual(JSON.parse(JSON.stringify(report)), report);
  assert.equal(new Set(report.checks.map(({ name }) => name)).size, report.checks.length);
  for (const { status, detail, name } of report.checks) {
    assert.ok(checkStatuses.includes(status));
    assert.ok(detail.length > 0, name);
  }
  assert.equal(report.tier, 'vm-emulated');
  assert.match(report.tierMeaning, /does not support emulation as a boundary/);
});

test('a check that fails or hangs is a warning, and the others still report', async () => {
  const broken = {
    ...fakeHost(),
    freeBytes: () => Promise.reject(new Error('the disk is on fire')),
    readText: (path: string): Promise<string | undefined> =>
      path === '/proc/swaps' ? new Promise(() => {}) : Promise.resolve(undefined),
  };
  const report = await examineHost({ ...options, host: broken, timeoutMs: 50 });
  const find = (name: string): string => report.checks.find((check) => check.name === name)?.detail ?? '';
  assert.match(find('disk'), /on fire/);
  assert.match(find('swap'), /no answer within 50 ms/);
  assert.match(find('ksm'), /cannot merge/);
  assert.equal(report.status, 'fail');
});

test('when the probe itself fails there is no tier to promise', async () => {
  const report = await examineHost({
    ...options,
    host: fakeHost(),
    probeAccelerator: () => Promise.reject(new Error('no kernel to boot')),
    trySealedMemory: () => Promise.reject(new Error('EPERM')),
  });
  assert.deepEqual([report.accelerator, report.tier, report.status], ['none', 'none', 'fail']);
  assert.match(report.checks.find(({ name }) => name === 'sealed-memory')?.detail ?? '', /EPERM/);
});

test('who gives up gets the reason, at once', async () => {
  const controller = new AbortController();
  const examined = examineHost({
    ...options,
    probeAccelerator: () => new Promise(() => {}),
    signal: controller.signal,
  });
  controller.abort(new Error('enough'));
  await assert.rejects(examined, /enough/);
});

test('the real access: files below another root, folders, programs that hang', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'bulkhead-doctor-'));
  t.after(() => rm(root, { recursive: true }));
  await mkdir(join(root, 'proc'));
  await writeFile(join(root, 'proc/swaps'), 'Filename\n');
  const host = openHost(root);
  assert.equal(await host.readText('/proc/swaps'), 'Filename\n');
  assert.equal(await host.readText('/proc/meminfo'), undefined);
  assert.deepEqual(await host.listNames('/proc'), ['swaps']);
  assert.equal(await host.makeFolder('/proc/child'), undefined);
  assert.equal(await host.makeFolder('/none/child'), 'ENOENT');
  assert.equal(await host.exists('/proc/child'), true);
  await host.removeFolder('/proc/child');
  assert.deepEqual(await readdir(join(root, 'proc')), ['swaps']);
  assert.equal(await host.tryOpen('/dev/kvm'), 'ENOENT');
  assert.ok((await host.freeBytes(join(root, 'not/there/yet'))) > 0);

  const hung = await host.run(['sleep', '60'], 50);
  assert.equal(hung.problem, 'timeout');
  const said = await host.run(['sh', '-c', 'echo out; echo err >&2; exit 3'], 2000);
  assert.deepEqual(said, { problem: null, exitCode: 3, stdout: 'out\n', stderr: 'err\n' });
  assert.equal((await host.run(['bulkhead-no-such-program'], 2000)).problem, 'missing');
});
