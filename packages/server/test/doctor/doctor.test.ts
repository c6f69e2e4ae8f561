import assert from 'node:assert/strict';
import { tmpdir } from 'node:os';
import { test } from 'node:test';
import { openDoctor } from '../../src/doctor/doctor.ts';
import { trySealedMemory } from '../../src/doctor/qemu-trials.ts';

test('memory that is sealed on this host refuses every change', async () => {
  assert.match(await trySealedMemory(), /refused/);
});

test('until a guest has been booted the weaker tier is stated', async () => {
  const doctor = await openDoctor({ cacheDir: tmpdir() });
  const report = await doctor.examine();
  assert.equal(report.tier, 'vm-emulated');
  assert.match(report.checks.find(({ name }) => name === 'accelerator')?.detail ?? '', /no guest has been booted/);
});

test('what the boot probe finds decides the tier', async () => {
  const doctor = await openDoctor({
    cacheDir: tmpdir(),
    probeAccelerator: async () => ({ accelerator: 'kvm', proof: 'a guest booted' }),
  });
  assert.equal((await doctor.examine()).tier, 'vm-kvm');
});
