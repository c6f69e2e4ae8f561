// `bulkhead bench resume`: from the call of `resume` on a session that sleeps on the disk to the result of its first turn.

import { timeColdBoot, timeLocalPython } from './baselines.ts';
import { measureTouched, openKeptSessions, usual } from './kept-sessions.ts';
import { type BenchmarkOptions, type BenchmarkReport, compare, measuredOn, summarize } from './report.ts';

export async function run(options: BenchmarkOptions): Promise<BenchmarkReport> {
  const { n, onProgress } = options;
  await using kept = await openKeptSessions(options);
  const { sessions, tenant } = kept;
  const clock = 'from the call of resume to the result of the first turn';
  const { ours, laps, points } = await measureTouched(options, kept, clock, async (id) => {
    await sessions.suspendSession(tenant, id);
    const started = performance.now();
    await sessions.resumeSession(tenant, id);
    const confirmedMs = performance.now() - started;
    await kept.turn(id, 'len(kept)');
    return { ms: performance.now() - started, confirmedMs };
  });
  const confirmed = summarize(laps.map(({ confirmedMs }) => confirmedMs));
  onProgress('baselines: a local interpreter, a cold boot of the same machine');
  return {
    benchmark: 'resume',
    unit: 'ms',
    clock: `${clock}; ${usual} MB touched by the session`,
    ...ours,
    ...measuredOn(options),
    also: {
      confirmed: { ...confirmed, unit: 'ms', clock: 'from the call of resume until the session is ready' },
      ...points,
    },
    baselines: {
      'python3 -c "import numpy, pandas"': compare(ours, timeLocalPython(Math.min(n, 10))),
      'cold boot of the same machine': compare(ours, await timeColdBoot(options)),
    },
  };
}
