// Nothing is left on the host: not after many launches, not after the process that launched was killed in the middle of one.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { makeId } from '@bulkhead/protocol';
import { loadConfig } from '@bulkhead/server';
import { openCgroups } from '../../packages/server/src/runtimes/cgroups.ts';
import { eventually, launchMachine, processesWith, useBulkhead } from './support.ts';

const bulkhead = useBulkhead();
const { cacheDir } = loadConfig();

interface Traces {
  readonly processes: readonly number[];
  readonly groups: readonly string[];
  readonly files: readonly string[];
}

function list(directory: string, pattern: RegExp): string[] {
  try {
    return readdirSync(directory)
      .filter((name) => pattern.test(name))
      .map((name) => join(directory, name));
  } catch {
    return []; // a folder that is made on first use
  }
}

/** What machines leave on a host while they run, and must not leave afterwards. */
async function traces(): Promise<Traces> {
  const cgroups = await openCgroups();
  return {
    processes: processesWith('bulkhead:mch_'),
    groups: (cgroups?.directories ?? []).flatMap((directory) => list(directory, /^\d+-\d+\./)),
    files: [
      ...list(join(cacheDir, 'scratch'), /./),
      ...list(join(cacheDir, 'templates'), /^\./),
      ...list(tmpdir(), /^bulkhead-state\./),
      ...readFileSync('/proc/self/mountinfo', 'utf8')
        .split('\n')
        .filter((line) => line.includes('bulkhead')),
    ],
  };
}

const nothing: Traces = { processes: [], groups: [], files: [] };

test('launches that are given up at any moment leave nothing', async () => {
  for (let round = 0; round < 30; round += 1) {
    const giveUp = new AbortController();
    const launching = bulkhead().runtime.launch(
      { tenant: makeId('tenant'), session: makeId('session'), size: 'small' },
      { signal: giveUp.signal },
    );
    launching.catch(() => undefined);
    await delay(round);
    giveUp.abort();
    await assert.rejects(launching, { code: 'cancelled' }, `after ${round} ms`);
  }
  await eventually('nothing is left', async () => (await traces()).processes.length === 0);
  // One that did not know yet that it should die is seen only when it is up.
  await delay(1000);
  assert.deepEqual(await traces(), nothing);
});

test('200 launches and terminations leave nothing', async (context) => {
  assert.deepEqual(await traces(), nothing, 'before');
  const openFiles = (): number => readdirSync('/proc/self/fd').length;
  const tenant = makeId('tenant');
  await (await launchMachine(bulkhead(), tenant))[Symbol.asyncDispose]();
  const before = openFiles();
  const started = performance.now();
  const control = await launchMachine(bulkhead(), tenant);
  assert.equal((await traces()).processes.length, 2, 'the control: a live machine is seen');
  await control[Symbol.asyncDispose]();
  const lane = async (): Promise<void> => {
    for (let i = 0; i < 100; i++) await (await launchMachine(bulkhead(), tenant))[Symbol.asyncDispose]();
  };
  await Promise.all([lane(), lane()]);
  context.diagnostic(`200 launches and terminations in ${((performance.now() - started) / 1000).toFixed(1)} s`);
  assert.deepEqual(await traces(), nothing);
  assert.ok(openFiles() <= before + 2, `${openFiles() - before} descriptors leaked`);
});

test('kill -9 in mid-launch, ten times: the next start finds and removes everything', async (context) => {
  const code = `
    import { makeId } from '@bulkhead/protocol';
    import { loadConfig, openBulkhead } from '@bulkhead/server';
    const bulkhead = await openBulkhead(loadConfig());
    await bulkhead.runtime.prepare('small');
    const tenant = makeId('tenant');
    for (;;) {
      console.log('launching');
      await bulkhead.runtime.launch({ tenant, session: makeId('session'), size: 'small' });
    }`;
  const folder = join(import.meta.dirname, '..', '..', 'packages', 'cli', 'src');
  for (let round = 0; round < 10; round++) {
    const child = spawn(
      process.execPath,
      ['--conditions=bulkhead-source', '--input-type=module-typescript', '-e', code],
      {
        cwd: folder,
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    const exited = new Promise((resolve) => child.once('exit', resolve));
    // The second launch, since the first one loads the template; then a different moment of it each round.
    let launches = 0;
    await new Promise<void>((resolve) => {
      child.stdout.on('data', (chunk: Buffer) => {
        launches += chunk.toString().split('launching').length - 1;
        if (launches >= 2) resolve();
      });
      child.once('exit', () => resolve());
    });
    assert.ok(launches >= 2, 'the control: it was launching');
    await new Promise((resolve) => setTimeout(resolve, round * 12));
    child.kill('SIGKILL');
    await exited;
  }
  const removed = await bulkhead().runtime.sweep();
  context.diagnostic(`the sweep removed: ${removed.length} things`);
  assert.deepEqual(await traces(), nothing);
  assert.ok(removed.length > 0, 'the control: something was left');
  // And the host still launches.
  await (await launchMachine(bulkhead()))[Symbol.asyncDispose]();
});
