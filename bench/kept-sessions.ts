// What the benchmarks of sleep share: sessions that are kept in a directory of their own, with as much touched in them as is asked for.

import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SessionId, SizeName, TenantId } from '@bulkhead/protocol';
import { type Sessions, localTenant, openBulkhead } from '@bulkhead/server';
import { type BenchmarkOptions, type Summary, summarize } from './report.ts';

/** Megabytes that are touched for the curve; `usual` is what the table is about. */
export const curve = [1, 10, 100, 300] as const;
export const usual = 15;
/** Each point of the curve is measured this often. */
const curveCount = 5;

/** The smallest machine that has room for as much beside its libraries. */
function sizeFor(megabytes: number): SizeName {
  return megabytes > 200 ? 'medium' : 'small';
}

export interface KeptSessions extends AsyncDisposable {
  readonly sessions: Sessions;
  readonly tenant: TenantId;
  /** A session that has run a turn and holds as many megabytes that nobody else has. */
  readonly create: (megabytes: number) => Promise<SessionId>;
  /** Bytes of each of its snapshots. */
  snapshotsOf(id: SessionId): Promise<readonly number[]>;
  /** Milliseconds from the request to the end of a turn. */
  turn(id: SessionId, code: string): Promise<number>;
}

export async function openKeptSessions({ bulkhead, onProgress }: BenchmarkOptions): Promise<KeptSessions> {
  await bulkhead.runtime.prepare('small', { onProgress });
  const stateDir = await mkdtemp(join(tmpdir(), 'bulkhead-bench-'));
  const own = { stateDir, keyFile: join(stateDir, 'key'), turnKeysDir: join(stateDir, 'turn-keys') };
  const config = { ...bulkhead.config, ...own, databaseUrl: undefined };
  const kept = await openBulkhead(config, { keep: true });
  const { sessions } = kept;
  const tenant = localTenant;
  const turn = async (id: SessionId, code: string): Promise<number> => {
    const started = performance.now();
    const { status } = await (await sessions.takeTurn(tenant, id, { code })).result;
    if (status !== 'ok') throw new Error(`a turn failed: ${code}`);
    return performance.now() - started;
  };
  return {
    sessions,
    tenant,
    turn,
    snapshotsOf: async (session) =>
      ((await kept.keeping?.snapshots.list({ tenant, session })) ?? []).map(({ bytes }) => bytes),
    create: async (megabytes) => {
      const { id } = await sessions.createSession({ tenant, size: sizeFor(megabytes) }, { onProgress });
      await turn(id, `import os; kept = [os.urandom(1_000_000) for _ in range(${megabytes})]; len(kept)`);
      return id;
    },
    async [Symbol.asyncDispose]() {
      await kept[Symbol.asyncDispose]();
      await rm(stateDir, { recursive: true });
    },
  };
}

export type CurvePoint = Summary & { readonly unit: string; readonly clock: string };

/** What one round of a benchmark took, and what else it found. */
interface Lap {
  readonly ms: number;
}

/**
 * The laps of a benchmark with the usual amount touched, `n` of them, then a few at each point of the curve. Every amount has a session of its
 * own, whose first lap does not count: it loads what the others find.
 */
export async function measureTouched<L extends Lap>(
  { n, onProgress, signal }: BenchmarkOptions,
  { sessions, tenant, create }: KeptSessions,
  clock: string,
  lap: (id: SessionId) => Promise<L>,
): Promise<{ readonly ours: Summary; readonly laps: readonly L[]; readonly points: Record<string, CurvePoint> }> {
  const measure = async (megabytes: number, count: number): Promise<readonly L[]> => {
    onProgress(`with ${megabytes} MB touched`);
    const id = await create(megabytes);
    const laps: L[] = [];
    for (let i = 0; i <= count; i++) {
      signal?.throwIfAborted();
      laps.push(await lap(id));
    }
    await sessions.terminateSession(tenant, id);
    return laps.slice(1);
  };
  const laps = await measure(usual, n);
  const points: Record<string, CurvePoint> = {};
  for (const megabytes of curve) {
    points[`${megabytes} MB`] = {
      ...summarizeLaps(await measure(megabytes, curveCount)),
      unit: 'ms',
      clock: `${clock}; size ${sizeFor(megabytes)}`,
    };
  }
  return { ours: summarizeLaps(laps), laps, points };
}

function summarizeLaps(laps: readonly Lap[]): Summary {
  return summarize(laps.map(({ ms }) => ms));
}

/** What a user would do instead: write as many bytes into a file and wait until they are on the disk. */
export async function timeWriteAndSync(bytes: number, count: number): Promise<readonly number[]> {
  const directory = await mkdtemp(join(tmpdir(), 'bulkhead-bench-'));
  const content = Buffer.alloc(bytes, 1);
  const times: number[] = [];
  for (let i = 0; i < count; i++) {
    const started = performance.now();
    await using file = await open(join(directory, String(i)), 'w');
    await file.writeFile(content);
    await file.sync();
    times.push(performance.now() - started);
  }
  await rm(directory, { recursive: true });
  return times;
}
