// `bulkhead bench suspend`: from the call of `suspend` to a session of which nothing runs and all is on the disk.

import { curve, measureTouched, openKeptSessions, timeWriteAndSync, usual } from './kept-sessions.ts';
import { type BenchmarkOptions, type BenchmarkReport, compare, measuredOn, summarize } from './report.ts';

export async function run(options: BenchmarkOptions): Promise<BenchmarkReport> {
  await using kept = await openKeptSessions(options);
  const { sessions, tenant } = kept;
  const clock = 'from the call of suspend until all is on the disk and the machine is gone';
  const { ours, laps, points } = await measureTouched(options, kept, clock, async (id) => {
    const started = performance.now();
    await sessions.suspendSession(tenant, id);
    const ms = performance.now() - started;
    const [snapshot = 0] = await kept.snapshotsOf(id);
    await kept.turn(id, 'len(kept)');
    return { ms, megabytes: snapshot / 1e6 };
  });
  const written = summarize(laps.map(({ megabytes }) => megabytes));
  return {
    benchmark: 'suspend',
    unit: 'ms',
    clock: `${clock}; ${usual} MB touched by the session`,
    ...ours,
    ...measuredOn(options),
    also: { ...points, size: { ...written, unit: 'MB', clock: `the snapshot on the disk, ${usual} MB touched` } },
    baselines: {
      'write and fsync as many bytes': compare(ours, await timeWriteAndSync(written.median * 1e6, options.n)),
      [`${curve.at(-1)} MB of them`]: compare(ours, await timeWriteAndSync((curve.at(-1) ?? 0) * 1e6, 5)),
    },
  };
}
