// `bulkhead bench crowd`: many sessions at once, all of them asked at once. Every one has to answer, and nothing may be left of them.

import { readFileSync, readdirSync } from 'node:fs';
import { makeId } from '@bulkhead/protocol';
import { type BenchmarkOptions, type BenchmarkReport, measuredOn, summarize } from './report.ts';

export async function run(options: BenchmarkOptions): Promise<BenchmarkReport> {
  const { n, bulkhead, onProgress, signal } = options;
  const { runtime, sessions } = bulkhead;
  await runtime.prepare('small', { onProgress });
  const tenant = makeId('tenant');
  const call = signal === undefined ? {} : { signal };
  const created: number[] = [];
  const answered: number[] = [];
  const started = performance.now();
  const crowd = await Promise.all(
    Array.from({ length: n }, async () => {
      const session = await sessions.createSession({ tenant }, call);
      created.push(performance.now() - started);
      if (created.length % 10 === 0) onProgress(`${created.length} sessions are up`);
      return session;
    }),
  );
  const ids = new Set((await runtime.list()).filter((found) => found.tenant === tenant).map(({ id }) => id));
  if (ids.size !== n) throw new Error(`${ids.size} machines are listed for ${n} sessions`);
  onProgress('a turn in each, all at once');
  const asked = performance.now();
  await Promise.all(
    crowd.map(async (session, index) => {
      const { stdout } = await session.startTurn({ code: `import os; print(${index} * 7, os.getpid() > 0)` }).result;
      if (stdout !== `${index * 7} True\n`) throw new Error(`session ${index} answered ${JSON.stringify(stdout)}`);
      answered.push(performance.now() - asked);
    }),
  );
  const megabytes = crowdMemory(ids);
  onProgress('ending all');
  const ending = performance.now();
  await Promise.all(crowd.map((session) => session.terminate()));
  const endedMs = performance.now() - ending;
  const left = [...(await runtime.list()).filter((found) => found.tenant === tenant), ...(await runtime.sweep())];
  if (left.length > 0) throw new Error(`it left ${JSON.stringify(left)}`);
  return {
    benchmark: 'crowd',
    unit: 'ms',
    clock: `from the moment that ${n} idle sessions are asked at once to the answer of each`,
    ...summarize(answered),
    ...measuredOn(options),
    also: {
      created: {
        ...summarize(created),
        unit: 'ms',
        clock: `from the request for ${n} sessions at once to each of them`,
      },
      memory: { ...summarize(megabytes), unit: 'MB', clock: 'memory that a machine alone takes, after its turn' },
      ended: {
        ...summarize([endedMs]),
        unit: 'ms',
        clock: 'from the call that ends all to the proof that nothing is left',
      },
    },
    baselines: {},
  };
}

/** Megabytes of each machine: what its processes have of no file of the host, in proportion to who shares it. */
function crowdMemory(ids: ReadonlySet<string>): readonly number[] {
  const megabytes = new Map<string, number>();
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const id = /mch_[0-9a-z]{26}/.exec(readFileSync(`/proc/${pid}/cmdline`, 'latin1'))?.[0] ?? '';
      if (!ids.has(id)) continue;
      const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
      const kilobytes = [...rollup.matchAll(/^Pss_(?:Anon|Shmem):\s+(\d+) kB$/gm)].reduce(
        (sum, [, kb]) => sum + Number(kb),
        0,
      );
      megabytes.set(id, (megabytes.get(id) ?? 0) + (kilobytes * 1024) / 1e6);
    } catch {
      continue; // it ended meanwhile
    }
  }
  return [...megabytes.values()];
}
