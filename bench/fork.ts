// `bulkhead bench fork`: from the call of `fork` on a live session to a child that is ready, and unlike its parent where it has to be.

import { type KeptSessions, measureTouched, openKeptSessions, usual } from './kept-sessions.ts';
import { type BenchmarkOptions, type BenchmarkReport, compare, measuredOn, summarize } from './report.ts';

const batch = 10;

export async function run(options: BenchmarkOptions): Promise<BenchmarkReport> {
  const { n, onProgress } = options;
  await using kept = await openKeptSessions(options);
  const { sessions, tenant } = kept;
  const clock = 'from the call of fork until the child is ready';
  const { ours, points } = await measureTouched(options, kept, clock, async (id) => {
    const started = performance.now();
    const [child] = await sessions.forkSession(tenant, id);
    const ms = performance.now() - started;
    if (child !== undefined) await sessions.terminateSession(tenant, child.id);
    return { ms };
  });
  onProgress(`${batch} children with one call`);
  const together = summarize([await timeBatch(kept)]);
  onProgress('baseline: new sessions');
  const created: number[] = [];
  for (let i = 0; i < Math.min(n, 10); i++) {
    const started = performance.now();
    const { id } = await sessions.createSession({ tenant });
    created.push(performance.now() - started);
    await sessions.terminateSession(tenant, id);
  }
  return {
    benchmark: 'fork',
    unit: 'ms',
    clock: `${clock}; ${usual} MB touched by the parent`,
    ...ours,
    ...measuredOn(options),
    also: {
      batch: { ...together, unit: 'ms', clock: `a child, when ${batch} are forked with one call` },
      ...points,
    },
    baselines: { 'a new session, with none of the variables': compare(ours, created) },
  };
}

/** Milliseconds for each child. */
async function timeBatch({ sessions, tenant, create }: KeptSessions): Promise<number> {
  const id = await create(usual);
  const [first] = await sessions.forkSession(tenant, id); // does not count
  if (first !== undefined) await sessions.terminateSession(tenant, first.id);
  const started = performance.now();
  const children = await sessions.forkSession(tenant, id, batch);
  const ms = (performance.now() - started) / batch;
  for (const child of [...children, { id }]) await sessions.terminateSession(tenant, child.id);
  return ms;
}
