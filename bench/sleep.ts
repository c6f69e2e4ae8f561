// `bulkhead bench sleep`: what sessions that sleep take of this host, and how long it takes to wake many of them at once.

import { openKeptSessions, usual } from './kept-sessions.ts';
import { type BenchmarkOptions, type BenchmarkReport, compare, measuredOn, summarize } from './report.ts';

const wokenMaxCount = 50;

export async function run(options: BenchmarkOptions): Promise<BenchmarkReport> {
  const { n, bulkhead, onProgress, signal } = options;
  await using kept = await openKeptSessions(options);
  const { sessions, tenant } = kept;
  const parent = await kept.create(usual);
  const asleep = [parent];
  while (asleep.length < n) {
    signal?.throwIfAborted();
    const batch = await sessions.forkSession(tenant, parent, Math.min(20, n - asleep.length));
    for (const { id } of batch) {
      await sessions.suspendSession(tenant, id);
      asleep.push(id);
    }
    onProgress(`${asleep.length} of ${n} asleep`);
  }
  await sessions.suspendSession(tenant, parent);
  const machines = (await bulkhead.runtime.list()).length;
  if (machines > 0) throw new Error(`${machines} machines run although every session sleeps`);
  const disk: number[] = [];
  for (const id of asleep) disk.push(...(await kept.snapshotsOf(id)).map((bytes) => bytes / 1e6));
  const chosen = asleep.slice(0, wokenMaxCount);
  onProgress(`waking ${chosen.length} at once`);
  const started = performance.now();
  const woken = await Promise.all(
    chosen.map(async (id) => {
      await kept.turn(id, `assert len(kept) == ${usual}`);
      return performance.now() - started;
    }),
  );
  const ours = summarize(woken);
  return {
    benchmark: 'sleep',
    unit: 'ms',
    clock: `${chosen.length} of ${asleep.length} sessions woken at once: to the result of a turn in each; ${usual} MB touched`,
    ...ours,
    ...measuredOn(options),
    also: {
      disk: { ...summarize(disk), unit: 'MB', clock: 'on the disk, for each session that sleeps' },
      machines: { ...summarize([machines]), unit: 'processes', clock: 'of machines, while every session sleeps' },
    },
    baselines: { 'the first of them alone': compare(ours, [Math.min(...woken)]) },
  };
}
