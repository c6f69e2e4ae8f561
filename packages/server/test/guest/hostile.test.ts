// A hostile agent, at the channel of a virtual machine and that of a container in turn: sessions that are valid until a seeded generator
// spoils them. Every case must end in a typed way or go on correctly; the host's memory stays where it was, and a healthy channel beside
// them never notices.
// BULKHEAD_TEST_SEED and BULKHEAD_TEST_CASES repeat a part of the run: the failure message says which.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { HostReport } from './hostile-host.ts';

const baseSeed = Number(process.env['BULKHEAD_TEST_SEED'] ?? 20_261_123);
const cases = Number(process.env['BULKHEAD_TEST_CASES'] ?? 10_000);
const memoryMaxBytes = 64 * 1_048_576;

function mib(bytes: number): string {
  return `${(bytes / 1_048_576).toFixed(1)} MiB`;
}

function script(name: string): string[] {
  return ['--conditions=bulkhead-source', fileURLToPath(new URL(name, import.meta.url))];
}

test(`${cases} spoiled sessions end in a typed way, and cost the host nothing`, async (context) => {
  const folder = await mkdtemp(join(tmpdir(), 'bulkhead-hostile-'));
  const socketPath = join(folder, 'socket');
  const attacker = spawn(process.execPath, [...script('hostile-guest.ts'), socketPath], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const attackerExit = once(attacker, 'exit');
  context.after(async () => {
    attacker.stdin.end();
    await attackerExit;
    await rm(folder, { recursive: true });
  });
  await once(attacker.stdout, 'data');
  // V8 lets its young generation grow with whatever runs; held small, growth means that something is kept.
  const host = spawn(
    process.execPath,
    ['--max-semi-space-size=8', ...script('hostile-host.ts'), socketPath, String(baseSeed), String(cases)],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  const hostExit = once(host, 'exit');
  const [output, complaints] = await Promise.all([text(host.stdout), text(host.stderr)]);
  const [exitCode] = await hostExit;
  assert.equal(exitCode, 0, complaints);
  const report: HostReport = JSON.parse(output);
  context.diagnostic(`seed ${baseSeed}; ends: ${JSON.stringify(report.ends)}`);
  context.diagnostic(`growth: held ${mib(report.heldGrowthBytes)}, resident ${mib(report.residentGrowthBytes)}`);
  context.diagnostic(
    `neighbour: ${report.pings} pings, median ${report.pingMedianMs.toFixed(2)} ms, max ${report.pingMaxMs.toFixed(1)} ms`,
  );
  context.diagnostic(
    `a million single bytes unread: ${mib(report.bytesGrowthBytes)}, neighbour max ${report.bytesPingMaxMs.toFixed(1)} ms`,
  );
  assert.ok(report.heldGrowthBytes < memoryMaxBytes);
  assert.ok(report.residentGrowthBytes < memoryMaxBytes);
  assert.ok(report.bytesGrowthBytes < 24 * 1_048_576);
  assert.ok(report.pings > 0);
  assert.ok(report.pingMaxMs < 1000 && report.bytesPingMaxMs < 1000);
  if (cases < 1000) return;
  for (const end of ['went on', 'ended', 'protocol_violation', 'unresponsive', 'closed', 'bad proof']) {
    assert.ok((report.ends[end] ?? 0) > 0, `no case ended as ${end}`);
  }
});
