// `bench create`: from the request for a session to the result of its first turn, with a machine that is ready in the warm pool and without.

import { setTimeout as delay } from 'node:timers/promises';
import { makeId } from '@bulkhead/protocol';
import { type Sessions, openBulkhead } from '@bulkhead/server';
import { timeLocalPython } from './baselines.ts';
import { type BenchmarkOptions, type BenchmarkReport, compare, measuredOn, summarize } from './report.ts';

/** How long a machine for the pool is waited for. */
const readyMaxMs = 30_000;

interface Times {
  readonly created: readonly number[];
  readonly answered: readonly number[];
}

export async function run(options: BenchmarkOptions): Promise<BenchmarkReport> {
  const { bulkhead, n, onProgress } = options;
  await bulkhead.runtime.prepare('small', { onProgress });
  onProgress(`${n} sessions without a pool`);
  const cold = await withPool(options, 0);
  onProgress(`${n} sessions with a pool`);
  const warm = await withPool(options, 2);
  const ours = summarize(warm.answered);
  const clock = 'from the request for a session to';
  return {
    benchmark: 'create',
    unit: 'ms',
    clock: `${clock} the result of its first turn; in-process, a machine ready in the pool`,
    ...ours,
    ...measuredOn(options),
    also: {
      created: { ...summarize(warm.created), unit: 'ms', clock: `${clock} its machine, made unique, from the pool` },
      createdWithoutPool: { ...summarize(cold.created), unit: 'ms', clock: `${clock} its machine, launched` },
    },
    baselines: {
      'the same without a pool': compare(ours, cold.answered),
      'python3 -c "import numpy, pandas"': compare(ours, timeLocalPython(Math.min(n, 10))),
    },
  };
}

async function withPool({ bulkhead, n, signal }: BenchmarkOptions, count: number): Promise<Times> {
  const pool = { minCount: count, maxCount: count };
  await using pooled = await openBulkhead({ ...bulkhead.config, pool });
  const { sessions } = pooled;
  const tenant = makeId('tenant');
  const created: number[] = [];
  const answered: number[] = [];
  for (let i = 0; i <= n; i++) {
    signal?.throwIfAborted();
    if (i > 0) await untilReady(sessions, count);
    const started = performance.now();
    await using session = await sessions.createSession({ tenant });
    const createdMs = performance.now() - started;
    const { results } = await session.startTurn({ code: '6 * 7' }).result;
    const answeredMs = performance.now() - started;
    if (results[0]?.['text/plain'] !== '42')
      throw new Error(`a machine answered ${JSON.stringify(results)} instead of 42`);
    if (i === 0) continue; // loads the tenant's copy of the template
    created.push(createdMs);
    answered.push(answeredMs);
  }
  return { created, answered };
}

async function untilReady(sessions: Sessions, count: number): Promise<void> {
  const deadline = performance.now() + readyMaxMs;
  while (sessions.readyCount < count) {
    if (performance.now() > deadline) throw new Error(`the pool was not ready within ${readyMaxMs} ms`);
    await delay(10);
  }
}
