import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { it } from 'node:test';
import type { BenchmarkReport } from '../src/commands/bench.ts';
import { makeFolder, runCli } from './run-cli.ts';

const stateDirs = (): readonly string[] => readdirSync(tmpdir()).filter((name) => name.startsWith('bulkhead-bench-'));

it('bench load: clients of several tenants on a server of its own, answered as they should be, and nothing left of it', async () => {
  await using home = await makeFolder();
  const before = stateDirs();
  const args = ['bench', 'load', '--clients', '9', '--tenants', '3', '--seconds', '2', '--json', '--quiet'];
  const { exitCode, stdout, stderr } = await runCli(args, { cwd: home.path });
  assert.equal(exitCode, 0, stdout + stderr);
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what it says is its report
  const report = JSON.parse(stdout) as BenchmarkReport;
  assert.deepEqual([report.benchmark, report.tier, report.findings], ['load', 'none', []]);
  assert.ok(report.n > 0 && report.median > 0);
  for (const what of [
    'create',
    'upload',
    'download',
    'list',
    'terminate',
    'health',
    'turns of 1',
    'turns of 8',
    'turns of 9',
    'least served',
  ]) {
    assert.ok((report.also[what]?.median ?? 0) > 0, what);
  }
  assert.deepEqual(
    stateDirs().filter((name) => !before.includes(name)),
    [],
  );
});
