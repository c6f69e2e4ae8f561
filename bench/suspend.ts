// `bulkhead bench suspend`: from the call of `suspend` to a session of which nothing runs and all is on the disk.

import { curve, measureCurve, openKeptSessions, timeWriteAndSync, usual } from './kept-sessions.ts';
import { type BenchmarkOptions, type BenchmarkReport, compare, summarize } from './report.ts';

export async function run(options: BenchmarkOptions): Promise<BenchmarkReport> {
  const { n, bulkhead, onProgress } = options;
  await using kept = await openKeptSessions(options);
  const { sessions, tenant } = kept;
  const sizes: number[] = [];
  const measure = async (megabytes: number, count: number): Promise<number[]> => {
    const id = await kept.create(megabytes);
    const times: number[] = [];
    for (let i = 0; i <= count; i++) {
      options.signal?.throwIfAborted();
      const started = performance.now();
      await sessions.suspendSession(tenant, id);
      const elapsed = performance.now() - started;
      const [snapshot] = await kept.snapshotsOf(id);
      if (i > 0) times.push(elapsed);
      if (i > 0 && megabytes === usual) sizes.push((snapshot ?? 0) / 1e6);
      await kept.turn(id, 'len(kept)');
    }
    await sessions.terminateSession(tenant, id);
    return times;
  };
  onProgress(`with ${usual} MB touched`);
  const ours = summarize(await measure(usual, n));
  const clock = 'from the call of suspend until all is on the disk and the machine is gone';
  const points = await measureCurve(options, clock, measure);
  const written = summarize(sizes);
  const { runtime: name, tier, accelerator } = bulkhead.runtime.capabilities;
  return {
    benchmark: 'suspend',
    unit: 'ms',
    clock: `${clock}; ${usual} MB touched by the session`,
    ...ours,
    runtime: name,
    tier,
    accelerator,
    also: { ...points, size: { ...written, unit: 'MB', clock: `the snapshot on the disk, ${usual} MB touched` } },
    baselines: {
      'write and fsync as many bytes': compare(ours, await timeWriteAndSync(written.median * 1e6, n)),
      [`${curve.at(-1)} MB of them`]: compare(ours, await timeWriteAndSync((curve.at(-1) ?? 0) * 1e6, 5)),
    },
  };
}
