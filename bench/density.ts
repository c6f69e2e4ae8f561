// `bulkhead bench density`: what an idle session's machine takes of the host's memory, with many of them side by side.

import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { makeId } from '@bulkhead/protocol';
import type { Machine } from '@bulkhead/server';
import { type BenchmarkOptions, type BenchmarkReport, compare, measuredOn, summarize } from './report.ts';

const idleMs = 3000;
const clockTicksPerSecond = 100;

const megabyte = 1e6;

/** What the same costs without a machine: pages of a process that no file has. */
function privateMb(pid: number): number {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  return (Number(/^Anonymous:\s+(\d+) kB$/m.exec(rollup)?.[1] ?? Number.NaN) * 1024) / megabyte;
}

async function residentMb(machines: readonly Machine[]): Promise<readonly number[]> {
  return await Promise.all(machines.map(async (machine) => (await machine.residentBytes()) / megabyte));
}

function cpuSeconds(pid: number): number {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return 0; // it ended meanwhile
  }
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / clockTicksPerSecond;
}

function sum(machine: Machine, measure: (pid: number) => number): number {
  return machine.hostPids.reduce((total, pid) => total + measure(pid), 0);
}

async function answer(machine: Machine): Promise<void> {
  const code = Buffer.from('x = 1');
  const turn = machine.guest.run({
    language: 'python',
    context: 'default',
    code,
    maxOutputBytes: 65_536,
    maxEventBytes: 65_536,
  });
  const { status } = await turn.outcome;
  if (status !== 'ok') throw new Error(`a machine answered with ${status}`);
}

/** The same libraries in a bare process. */
async function localPythonMb(): Promise<number[] | string> {
  const child = spawn('python3', ['-c', 'import numpy, pandas; print(1, flush=True); input()'], {
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  const ready = await new Promise<boolean>((resolve) => {
    child.stdout.once('data', () => resolve(true));
    child.once('error', () => resolve(false));
    child.once('exit', () => resolve(false));
  });
  const measured =
    ready && child.pid !== undefined ? [privateMb(child.pid)] : 'not run: python3 here has no numpy and pandas';
  child.kill();
  return measured;
}

export async function run(options: BenchmarkOptions): Promise<BenchmarkReport> {
  const { n, bulkhead, onProgress, signal } = options;
  const { runtime } = bulkhead;
  await runtime.prepare('small', { onProgress });
  const tenant = makeId('tenant');
  await using machines = new AsyncDisposableStack();
  const launched: Machine[] = [];
  for (let i = 0; i < n; i++) {
    signal?.throwIfAborted();
    launched.push(machines.use(await runtime.launch({ tenant, session: makeId('session'), size: 'small' })));
  }
  const launchedMb = summarize(await residentMb(launched));
  onProgress(`${n} machines are up; one turn in each`);
  for (const machine of launched) await answer(machine);
  const before = launched.map((machine) => sum(machine, cpuSeconds));
  await new Promise((resolve) => setTimeout(resolve, idleMs));
  const idle = launched.map((machine, i) => ((sum(machine, cpuSeconds) - (before[i] ?? 0)) / (idleMs / 1000)) * 100);
  const afterTurn = summarize(await residentMb(launched));
  for (const machine of launched) await answer(machine);
  return {
    benchmark: 'density',
    unit: 'MB',
    clock: `memory that a machine alone takes, all its processes together, idle after launch, ${n} side by side`,
    ...launchedMb,
    ...measuredOn(options),
    also: {
      afterFirstTurn: { ...afterTurn, unit: 'MB', clock: 'the same after one turn in each' },
      idleCpu: { ...summarize(idle), unit: '% of a core', clock: `over ${idleMs / 1000} s without turns` },
    },
    baselines: { 'python3 with numpy and pandas': compare(afterTurn, await localPythonMb()) },
  };
}
