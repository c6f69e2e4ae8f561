// `bench http`: what the service adds. A session to its first result over HTTP with a machine ready in the pool, what a turn costs on top of the
// guest's own work, and files both ways. A real server on loopback with its database; the client has a thread of its own.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { type Config, startServer } from '@bulkhead/server';
import { timeProcess } from './baselines.ts';
import type { HttpClientWork, HttpTimes } from './http-client.ts';
import { type BenchmarkOptions, type BenchmarkReport, type Summary, compare, measuredOn, summarize } from './report.ts';

const fileBytes = 268_435_456;
const poolCount = 2;
/** A machine that was taken has been replaced by then: it is launched, and rehearses. */
const pauseMs = 3000;

export async function run(options: BenchmarkOptions): Promise<BenchmarkReport> {
  const { n, bulkhead, onProgress, signal } = options;
  await using root = await temporary();
  const config = serverConfig(bulkhead.config, root.path);
  await using server = await startServer(config, { version: 'bench', onProgress });
  await server.ready;
  if (server.first === undefined) throw new Error('a first start makes a key');
  onProgress(`${n} sessions, ${4 * n} turns and a file of ${fileBytes / 1_048_576} MiB over HTTP`);
  const times = await work({ url: server.url, key: server.first.secret, n, fileBytes, pauseMs }, signal);
  const ours = summarize(times.overhead);
  const clock = "the client's time from the request";
  const speed = (ms: number): Summary => summarize([fileBytes / 1000 / ms]);
  return {
    benchmark: 'http',
    unit: 'ms',
    clock: `${clock} for a turn to the end of its answer, less the guest's own time`,
    ...ours,
    ...measuredOn(options),
    also: {
      wholeTurn: { ...summarize(times.wholeTurn), unit: 'ms', clock: `${clock} for a turn to the end of its answer` },
      smallestRequest: { ...summarize(times.caller), unit: 'ms', clock: `${clock} for /v1/caller to its answer` },
      createToFirstResult: {
        ...summarize(times.answered),
        unit: 'ms',
        clock: `${clock} for a session to the result of its first turn, two requests, a machine ready in the pool`,
      },
      created: {
        ...summarize(times.created),
        unit: 'ms',
        clock: `${clock} for a session to its answer, from the pool`,
      },
      upload: { ...speed(times.uploadMs), unit: 'MB/s', clock: 'a file into the guest, to the answer' },
      download: { ...speed(times.downloadMs), unit: 'MB/s', clock: 'the same file out of it, to its last byte' },
    },
    baselines: {
      'python3 -c 1, against the overhead': compare(ours, timeProcess('python3', ['-c', '1'], Math.min(n, 20))),
    },
  };
}

function serverConfig(config: Config, stateDir: string): Config {
  return {
    ...config,
    stateDir,
    keyFile: join(stateDir, 'key'),
    turnKeysDir: join(stateDir, 'turn-keys'),
    pool: { minCount: poolCount, maxCount: poolCount },
    quotas: { ...config.quotas, requestsPerSecond: 1_000_000 },
    server: { ...config.server, host: '127.0.0.1', port: 0, tls: undefined },
  };
}

async function temporary(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'bulkhead-bench-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

async function work(asked: HttpClientWork, signal: AbortSignal | undefined): Promise<HttpTimes> {
  const worker = new Worker(new URL('http-client.ts', import.meta.url), { workerData: asked });
  const done = Promise.withResolvers<HttpTimes>();
  worker.once('message', done.resolve);
  worker.once('error', done.reject);
  const stop = (): void => done.reject(signal?.reason);
  signal?.addEventListener('abort', stop, { once: true });
  try {
    return await done.promise;
  } finally {
    signal?.removeEventListener('abort', stop);
    await worker.terminate();
  }
}
