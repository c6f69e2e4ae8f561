// What a user would pick instead of Bulkhead, timed on the same host in the same run.

import { spawnSync } from 'node:child_process';
import type { BenchmarkOptions } from './report.ts';

/** Milliseconds of a whole process, several times; a string that says why where it cannot run. */
export function timeProcess(command: string, args: readonly string[], runs: number): number[] | string {
  const elapsed: number[] = [];
  for (let i = 0; i <= runs; i++) {
    const started = performance.now();
    const { status, error, stderr } = spawnSync(command, args, { timeout: 60_000, encoding: 'utf8' });
    if (error !== undefined) return `not run: ${error.message}`;
    if (status !== 0) return `not run: ${stderr.trim().split('\n').at(-1) ?? `exit code ${status}`}`;
    if (i > 0) elapsed.push(performance.now() - started); // the first run warms the page cache
  }
  return elapsed;
}

/** A bare process with the libraries a session has ready: no isolation at all. */
export function timeLocalPython(runs: number): number[] | string {
  return timeProcess('python3', ['-c', 'import numpy, pandas'], runs);
}

/** The same machine, booted without a template. */
export async function timeColdBoot({ bulkhead: { runtime } }: BenchmarkOptions): Promise<number[] | string> {
  if (runtime.measureColdBoot === undefined) return 'not run: no such boot';
  return [await runtime.measureColdBoot('small')];
}
