// `bulkhead bench keep`: what it costs to have a turn kept, its start and its end, and what of that is the sealing.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TurnEvent, type TurnOutcome, makeId } from '@bulkhead/protocol';
import { localTenant, openBulkhead, toSessionRow } from '@bulkhead/server';
import { type BenchmarkOptions, type BenchmarkReport, compare, measuredOn, summarize } from './report.ts';

const outcome: TurnOutcome = { status: 'ok', error: null, exception: null, context: 'kept', guestMs: 1, turnMs: 2 };
const request = {
  code: new TextEncoder().encode('print(6 * 7)'),
  language: 'python',
  context: 'default',
  timeoutMs: 1000,
} as const;
const warmUps = 20;
const longs = 10;

export async function run(options: BenchmarkOptions): Promise<BenchmarkReport> {
  const { n, bulkhead, signal } = options;
  const stateDir = await mkdtemp(join(tmpdir(), 'bulkhead-bench-'));
  const own = { stateDir, keyFile: join(stateDir, 'key'), turnKeysDir: join(stateDir, 'turn-keys') };
  try {
    await using kept = await openBulkhead({ ...bulkhead.config, ...own, databaseUrl: undefined }, { keep: true });
    const { keeping } = kept;
    if (keeping === undefined) throw new TypeError('opened without what is kept');
    await using created = await kept.sessions.createSession({ tenant: localTenant });
    const session = created.record;
    const { tenant } = session;
    const sealed = async (events: readonly TurnEvent[]): Promise<number> => {
      const turn = { id: makeId('turn'), session, request };
      const startedMs = performance.now();
      await keeping.turns.start(turn);
      await keeping.turns.end({ id: turn.id, tenant, after: session }, events, outcome);
      const tookMs = performance.now() - startedMs;
      keeping.turns.release(turn.id);
      return tookMs;
    };
    const open = async (events: readonly TurnEvent[]): Promise<number> => {
      const [id, row] = [makeId('turn'), toSessionRow(session)];
      const startedMs = performance.now();
      const text = new TextDecoder().decode(request.code);
      const given = Buffer.from(JSON.stringify({ ...request, code: text }));
      await keeping.store.turns.start(row, { id, sealedWith: 'none', request: given });
      const rows = [{ sequence: 0, events: Buffer.from(JSON.stringify(events)) }];
      await keeping.store.turns.end(row, { id, outcome: Buffer.from(JSON.stringify(outcome)) }, rows);
      return performance.now() - startedMs;
    };
    const small: readonly TurnEvent[] = [
      { seq: 1, type: 'stdout', text: '42\n' },
      { seq: 2, type: 'end', outcome },
    ];
    const large: readonly TurnEvent[] = [
      ...Array.from(
        { length: 128 },
        (_, index) => ({ seq: index + 1, type: 'stdout', text: 'x'.repeat(65_536) }) as const,
      ),
      { seq: 129, type: 'end', outcome },
    ];
    /** What the sealing itself takes: the request, the events, the outcome. */
    const sealOnly = async (): Promise<number> => {
      const whom = { tenant, sealedWith: keeping.turnKeys.today(), what: 'benchmark' };
      const startedMs = performance.now();
      for (const document of [request, small, outcome]) await keeping.turnKeys.seal(whom, JSON.stringify(document));
      return performance.now() - startedMs;
    };
    const [ours, theirs, sealing, long, longOpen]: number[][] = [[], [], [], [], []];
    // Turn about, so that both see the same minutes of the host.
    for (let index = 0; index < n + warmUps; index += 1) {
      signal?.throwIfAborted();
      const [kept1, kept2, alone] = [await sealed(small), await open(small), await sealOnly()];
      if (index < warmUps) continue;
      ours?.push(kept1);
      theirs?.push(kept2);
      sealing?.push(alone);
    }
    for (let index = 0; index < longs; index += 1) {
      signal?.throwIfAborted();
      long?.push(await sealed(large));
      longOpen?.push(await open(large));
    }
    const summary = summarize(ours ?? []);
    return {
      benchmark: 'keep',
      unit: 'ms',
      clock:
        'from the start of a turn that prints a line being handed to the store to its end being durable, with what the session is meanwhile: two commits',
      ...summary,
      ...measuredOn(options),
      also: {
        sealing: {
          ...summarize(sealing ?? []),
          unit: 'ms',
          clock: 'of that, the sealing of request, events and outcome',
        },
        printed8Mb: { ...summarize(long ?? []), unit: 'ms', clock: 'the same for a turn that prints 8 MB' },
        printed8MbOpen: { ...summarize(longOpen ?? []), unit: 'ms', clock: 'the same, not sealed, in one row' },
      },
      baselines: { 'the same rows, not sealed': compare(summary, theirs ?? []) },
    };
  } finally {
    await rm(stateDir, { recursive: true });
  }
}
