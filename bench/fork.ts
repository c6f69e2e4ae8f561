// `bulkhead bench fork`: from the call of `fork` on a live session to a child that is ready, and unlike its parent where it has to be.

import { measureCurve, openKeptSessions, usual } from './kept-sessions.ts';
import { type BenchmarkOptions, type BenchmarkReport, compare, summarize } from './report.ts';

export async function run(options: BenchmarkOptions): Promise<BenchmarkReport> {
  const { n, bulkhead, onProgress } = options;
  await using kept = await openKeptSessions(options);
  const { sessions, tenant } = kept;
  const batches: number[] = [];
  const measure = async (megabytes: number, count: number): Promise<number[]> => {
    const id = await kept.create(megabytes);
    const times: number[] = [];
    for (let i = 0; i <= count; i++) {
      options.signal?.throwIfAborted();
      const started = performance.now();
      const [child] = await sessions.forkSession(tenant, id);
      if (i > 0) times.push(performance.now() - started);
      if (child !== undefined) await sessions.terminateSession(tenant, child.id);
    }
    if (megabytes === usual) {
      const started = performance.now();
      const children = await sessions.forkSession(tenant, id, batch);
      batches.push((performance.now() - started) / batch);
      for (const child of children) await sessions.terminateSession(tenant, child.id);
    }
    await sessions.terminateSession(tenant, id);
    return times;
  };
  onProgress(`with ${usual} MB touched`);
  const ours = summarize(await measure(usual, n));
  const clock = 'from the call of fork until the child is ready';
  const points = await measureCurve(options, clock, measure);
  onProgress('baseline: new sessions');
  const created: number[] = [];
  for (let i = 0; i < Math.min(n, 10); i++) {
    const started = performance.now();
    const { id } = await sessions.createSession({ tenant });
    created.push(performance.now() - started);
    await sessions.terminateSession(tenant, id);
  }
  const { runtime: name, tier, accelerator } = bulkhead.runtime.capabilities;
  return {
    benchmark: 'fork',
    unit: 'ms',
    clock: `${clock}; ${usual} MB touched by the parent`,
    ...ours,
    runtime: name,
    tier,
    accelerator,
    also: {
      batch: { ...summarize(batches), unit: 'ms', clock: `a child, when ${batch} are forked with one call` },
      ...points,
    },
    baselines: { 'a new session, with none of the variables': compare(ours, created) },
  };
}

const batch = 10;
