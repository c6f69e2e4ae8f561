// The host in the trial of hostile.test.ts, a process of its own: what it costs is not mixed with what the test runner and the
// attacker cost. `node hostile-host.ts SOCKET SEED CASES` prints a `HostReport`.

import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { BulkheadError, type ErrorCode } from '@bulkhead/protocol';
import { openGuest } from '../../src/guest/channel.ts';
import { encodeFrame, frameTypes } from '../../src/guest/frame.ts';
import type { Guest } from '../../src/guest/guest.ts';
import { ContainerChannel } from '../../src/runtimes/gvisor/container-channel.ts';
import { collect, confirmedPair, identity, turnsOfTheLoop, until } from './fake-guest.ts';
import { type Plan, makePlan } from './hostile-guest.ts';

setFlagsFromString('--expose-gc');
const collectGarbage: () => void = runInNewContext('gc');

const concurrency = 40;

const timeouts = {
  controlTimeoutMs: 150,
  slowTimeoutMs: 150,
  identifyTimeoutMs: 2000,
  pingTimeoutMs: 150,
  stallTimeoutMs: 150,
  cancelTimeoutMs: 150,
};
const allowed: ReadonlySet<ErrorCode> = new Set([
  'guest_protocol_violation',
  'guest_unresponsive',
  'machine_lost',
  'session_ended',
  'cancelled',
] as const);

async function* fiveThousandBytes(): AsyncGenerator<Uint8Array> {
  yield Buffer.alloc(2500);
  yield Buffer.alloc(2500);
}

/** Runs one case; throws when the host did anything but end in a typed way or go on correctly. */
async function runCase(plan: Plan, socketPath: string): Promise<string> {
  const isHonest = plan.mutations.length === 0 && !plan.hangUp && !plan.cancels;
  const socket = connect(socketPath);
  const seed = Buffer.alloc(4);
  seed.writeUInt32BE(plan.seed);
  socket.write(seed);
  // A virtual machine's channel is a socket, a container's is its standard streams.
  const channel = plan.seed % 2 === 0 ? socket : new ContainerChannel({ input: socket, output: socket });
  const guest = openGuest(channel, isHonest ? {} : timeouts);
  let endedAs = 'went on';
  const watched = (async () => {
    const { reason, detail } = await guest.ended;
    assert.doesNotMatch(detail, /[^\x20-\x7e]/);
    endedAs = reason;
  })();
  try {
    const confirmed = guest.identify(identity);
    if (plan.badProof) {
      await assert.rejects(confirmed, { code: 'guest_protocol_violation' });
      return 'bad proof';
    }
    await confirmed;
    const results = await useGuest(guest, plan, isHonest);
    for (const result of results) {
      if (result.status === 'fulfilled') continue;
      const reason: unknown = result.reason;
      assert.ok(BulkheadError.is(reason) && allowed.has(reason.code), `rejected with ${String(reason)}`);
    }
    if (isHonest && results.some(({ status }) => status !== 'fulfilled')) {
      assert.fail(`an honest guest was refused: ${endedAs}`);
    }
    return endedAs;
  } finally {
    await guest[Symbol.asyncDispose]();
    socket.destroy();
    await watched;
  }
}

/** What the layers above do with a guest, the end of a turn that does not end included. */
async function useGuest(guest: Guest, plan: Plan, isHonest: boolean): Promise<PromiseSettledResult<unknown>[]> {
  const abort = new AbortController();
  const { signal } = abort;
  const turn = guest.run({
    language: 'python',
    context: 'c',
    code: Buffer.from('1'),
    maxOutputBytes: 1e6,
    maxEventBytes: 1e7,
  });
  const calls: Promise<unknown>[] = [
    turn.outcome,
    collect(guest.readFile('f', { signal })),
    guest.info({ signal }),
    guest.writeFile('w', fiveThousandBytes(), 5000, { signal }),
    useConnection(guest, signal, plan.reader === 'leaves'),
  ];
  if (plan.reader === 'all') calls.push(collect(turn.events));
  else if (plan.reader === 'leaves') {
    calls.push(
      (async () => {
        for await (const _ of turn.events) return;
      })(),
    );
  }
  const timers = [setTimeout(() => void guest[Symbol.asyncDispose](), isHonest ? 5000 : 300)];
  if (plan.cancels) timers.push(setTimeout(() => abort.abort(), 5));
  calls.push(guest.ping());
  const results = await Promise.allSettled(calls);
  for (const timer of timers) clearTimeout(timer);
  return results;
}

async function useConnection(guest: Guest, signal: AbortSignal, leaves: boolean): Promise<void> {
  const connection = await guest.connect(8080, { signal });
  connection.end('question');
  for await (const _ of connection) if (leaves) return;
}

async function describedCase(seed: number, socketPath: string): Promise<string> {
  const plan = makePlan(seed);
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('neither ended nor went on')), 10_000);
  });
  try {
    return await Promise.race([runCase(plan, socketPath), late]);
  } catch (error) {
    throw new Error(
      `case failed; repeat with BULKHEAD_TEST_SEED=${seed} BULKHEAD_TEST_CASES=1: ${JSON.stringify(plan)}`,
      { cause: error },
    );
  } finally {
    clearTimeout(timer);
  }
}

/** A healthy channel whose host pings without pause; `stop` gives the latencies. */
async function startNeighbour(): Promise<AsyncDisposable & { stop: () => Promise<number[]> }> {
  const { guest, fake } = await confirmedPair();
  fake.onFrame = ({ header, payload }) => {
    if (header.type === frameTypes.ping) fake.send(frameTypes.pong, 0, payload);
    return true;
  };
  const latencies: number[] = [];
  const stopping = new AbortController();
  const pinging = (async () => {
    while (!stopping.signal.aborted) {
      const start = performance.now();
      await guest.ping();
      latencies.push(performance.now() - start);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  })();
  const stop = async (): Promise<number[]> => {
    stopping.abort();
    await pinging;
    await guest[Symbol.asyncDispose]();
    return latencies.sort((a, b) => a - b);
  };
  return {
    stop,
    async [Symbol.asyncDispose]() {
      await stop();
    },
  };
}

function memory(): { held: number; rss: number } {
  collectGarbage();
  const { heapUsed, external, rss } = process.memoryUsage();
  return { held: heapUsed + external, rss };
}

async function runCases(from: number, count: number, socketPath: string, tally: Map<string, number>): Promise<void> {
  let next = from;
  const worker = async (): Promise<void> => {
    while (next < from + count) {
      const seed = next;
      next += 1;
      const outcome = await describedCase(seed, socketPath);
      tally.set(outcome, (tally.get(outcome) ?? 0) + 1);
    }
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
}

export interface HostReport {
  readonly ends: Readonly<Record<string, number>>;
  readonly heldGrowthBytes: number;
  readonly residentGrowthBytes: number;
  readonly pings: number;
  readonly pingMedianMs: number;
  readonly pingMaxMs: number;
  /** One channel with a million single bytes in its windows. */
  readonly bytesGrowthBytes: number;
  readonly bytesPingMaxMs: number;
}

async function spoiledSessions(
  socketPath: string,
  baseSeed: number,
  cases: number,
): Promise<Omit<HostReport, 'bytesGrowthBytes' | 'bytesPingMaxMs'>> {
  await using neighbour = await startNeighbour();
  if (cases > 1) await runCases(baseSeed + 1_000_000, 500, socketPath, new Map());
  const before = memory();
  let heldGrowthBytes = 0;
  let residentGrowthBytes = 0;
  const tally = new Map<string, number>();
  for (let done = 0; done < cases; done += 500) {
    await runCases(baseSeed + done, Math.min(500, cases - done), socketPath, tally);
    const now = memory();
    heldGrowthBytes = Math.max(heldGrowthBytes, now.held - before.held);
    residentGrowthBytes = Math.max(residentGrowthBytes, now.rss - before.rss);
  }
  const latencies = await neighbour.stop();
  return {
    ends: Object.fromEntries(tally),
    heldGrowthBytes,
    residentGrowthBytes,
    pings: latencies.length,
    pingMedianMs: latencies[latencies.length >> 1] ?? 0,
    pingMaxMs: latencies.at(-1) ?? 0,
  };
}

async function singleBytes(): Promise<Pick<HostReport, 'bytesGrowthBytes' | 'bytesPingMaxMs'>> {
  await using neighbour = await startNeighbour();
  const { guest, fake } = await confirmedPair();
  const request = { language: 'python', code: Buffer.from(''), maxOutputBytes: 1e6, maxEventBytes: 1e6 } as const;
  const turns = ['a', 'b', 'c', 'd'].map((name) => guest.run({ ...request, context: name }));
  await until(() => fake.inbox.filter(({ header }) => header.type === frameTypes.open).length === 4, 'four turns');
  const before = memory();
  for (const stream of [1, 3, 5, 7]) {
    const frames = Array.from({ length: 4096 }, (_, n) =>
      encodeFrame(frameTypes.data, 1 + (n & 1), 1, stream, Buffer.from('x')),
    );
    const chunk = Buffer.concat(frames);
    for (let count = 0; count < 64; count += 1) {
      fake.raw(chunk);
      await turnsOfTheLoop(1);
    }
  }
  await until(() => fake.stream.writableLength === 0, 'all is read');
  await turnsOfTheLoop(50);
  const bytesGrowthBytes = memory().held - before.held;
  assert.deepEqual(await Promise.race([guest.ended, Promise.resolve('alive')]), 'alive');
  const latencies = await neighbour.stop();
  for (const { events } of turns) void events[Symbol.asyncIterator]().return?.();
  await guest[Symbol.asyncDispose]();
  return { bytesGrowthBytes, bytesPingMaxMs: latencies.at(-1) ?? 0 };
}

const [, , socketPath = '', seed = '', count = ''] = process.argv;
const report = { ...(await spoiledSessions(socketPath, Number(seed), Number(count))), ...(await singleBytes()) };
process.stdout.write(JSON.stringify(report satisfies HostReport));
