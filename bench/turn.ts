// `bulkhead bench turn`: what a turn costs on top of the guest's own work, in a session that has already run one.

import { makeId } from '@bulkhead/protocol';
import { timeProcess } from './baselines.ts';
import { type BenchmarkOptions, type BenchmarkReport, compare, measuredOn, summarize } from './report.ts';

export async function run(options: BenchmarkOptions): Promise<BenchmarkReport> {
  const { n, bulkhead, onProgress, signal } = options;
  const tenant = makeId('tenant');
  await using session = await bulkhead.sessions.createSession({ tenant }, { onProgress });
  const overheads: number[] = [];
  const totals: number[] = [];
  for (let i = 0; i < n + 20; i++) {
    signal?.throwIfAborted();
    const { status, timings } = await session.startTurn({ code: '1' }).result;
    if (status !== 'ok') throw new Error('a turn failed');
    if (i < 20) continue; // an emulator translates code the first times it runs
    overheads.push(timings.turnMs - timings.guestMs);
    totals.push(timings.turnMs);
  }
  const ours = summarize(overheads);
  const total = summarize(totals);
  return {
    benchmark: 'turn',
    unit: 'ms',
    clock:
      "host's time from the start of a turn to its end event, less the guest's own from the code's last byte to its outcome",
    ...ours,
    ...measuredOn(options),
    also: { wholeTurn: { ...total, unit: 'ms', clock: 'from the start of a turn to its end event' } },
    baselines: {
      'python3 -c 1, against the whole turn': compare(total, timeProcess('python3', ['-c', '1'], Math.min(n, 20))),
    },
  };
}
