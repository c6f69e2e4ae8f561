// `bulkhead bench resume`: from the call of `resume` on a session that sleeps on the disk to the result of its first turn.

import { timeLocalPython } from './baselines.ts';
import { measureCurve, openKeptSessions, usual } from './kept-sessions.ts';
import { type BenchmarkOptions, type BenchmarkReport, compare, summarize } from './report.ts';

export async function run(options: BenchmarkOptions): Promise<BenchmarkReport> {
  const { n, bulkhead, onProgress } = options;
  await using kept = await openKeptSessions(options);
  const { sessions, tenant } = kept;
  const confirmed: number[] = [];
  const measure = async (megabytes: number, count: number): Promise<number[]> => {
    const id = await kept.create(megabytes);
    const times: number[] = [];
    for (let i = 0; i <= count; i++) {
      options.signal?.throwIfAborted();
      await sessions.suspendSession(tenant, id);
      const started = performance.now();
      await sessions.resumeSession(tenant, id);
      const awake = performance.now() - started;
      await kept.turn(id, 'len(kept)');
      if (i === 0) continue;
      times.push(performance.now() - started);
      if (megabytes === usual) confirmed.push(awake);
    }
    await sessions.terminateSession(tenant, id);
    return times;
  };
  onProgress(`with ${usual} MB touched`);
  const ours = summarize(await measure(usual, n));
  const clock = 'from the call of resume to the result of the first turn';
  const points = await measureCurve(options, clock, measure);
  onProgress('baselines: a local interpreter, a cold boot of the same machine');
  const coldBoot =
    bulkhead.runtime.measureColdBoot === undefined
      ? 'not run: no such boot'
      : [await bulkhead.runtime.measureColdBoot('small')];
  const { runtime: name, tier, accelerator } = bulkhead.runtime.capabilities;
  return {
    benchmark: 'resume',
    unit: 'ms',
    clock: `${clock}; ${usual} MB touched by the session`,
    ...ours,
    runtime: name,
    tier,
    accelerator,
    also: {
      confirmed: { ...summarize(confirmed), unit: 'ms', clock: 'from the call of resume until the session is ready' },
      ...points,
    },
    baselines: {
      'python3 -c "import numpy, pandas"': compare(ours, timeLocalPython(Math.min(n, 10))),
      'cold boot of the same machine': compare(ours, coldBoot),
    },
  };
}
