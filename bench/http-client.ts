// The client of `bench http`, in a thread of its own: what it does itself is not on the server's time.

import { createHash } from 'node:crypto';
import { Agent, request as httpRequest } from 'node:http';
import { parentPort, workerData } from 'node:worker_threads';
import { setTimeout as delay } from 'node:timers/promises';

export interface HttpClientWork {
  readonly url: string;
  readonly key: string;
  readonly n: number;
  readonly fileBytes: number;
  /** Between one session and the next, so that the pool has a machine again. */
  readonly pauseMs: number;
}
export interface HttpTimes {
  readonly created: readonly number[];
  readonly answered: readonly number[];
  readonly wholeTurn: readonly number[];
  /** Less the guest's own time. */
  readonly overhead: readonly number[];
  /** The smallest request that says who asks. */
  readonly caller: readonly number[];
  readonly uploadMs: number;
  readonly downloadMs: number;
}

const agent = new Agent({ keepAlive: true, maxSockets: 4 });

interface Answer {
  readonly id: string;
  readonly result: {
    readonly results: readonly Readonly<Record<string, unknown>>[];
    readonly timings: { readonly guestMs: number };
  };
}

async function call({ url, key }: HttpClientWork, method: string, path: string, body?: unknown): Promise<Answer> {
  const answered = Promise.withResolvers<Answer>();
  const text = body === undefined ? undefined : JSON.stringify(body);
  const headers = {
    authorization: `Bearer ${key}`,
    ...(text === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
  };
  const sent = httpRequest(url + path, { method, agent, headers }, (response) => {
    let received = '';
    response.setEncoding('utf8').on('data', (chunk: string) => (received += chunk));
    response.on('end', () => {
      if ((response.statusCode ?? 500) < 300) answered.resolve(JSON.parse(received));
      else answered.reject(new Error(received));
    });
  });
  sent.on('error', answered.reject);
  sent.end(text);
  return await answered.promise;
}

async function timed<T>(work: () => Promise<T>): Promise<readonly [T, number]> {
  const started = performance.now();
  const value = await work();
  return [value, performance.now() - started];
}

async function measure(work: HttpClientWork): Promise<HttpTimes> {
  const { n, pauseMs } = work;
  const [created, answered, wholeTurn, overhead, caller]: number[][] = [[], [], [], [], []];
  for (let index = 0; index <= n; index += 1) {
    if (index > 0) await delay(pauseMs);
    const [session, createdMs] = await timed(() => call(work, 'POST', '/v1/sessions', {}));
    const turns = `/v1/sessions/${session.id}/turns`;
    const [turn, turnMs] = await timed(() => call(work, 'POST', turns, { code: '6 * 7' }));
    if (turn.result.results[0]?.['text/plain'] !== '42') throw new Error(`a machine answered ${JSON.stringify(turn)}`);
    await call(work, 'DELETE', `/v1/sessions/${session.id}`);
    if (index === 0) continue; // loads the tenant's copy of the template
    created?.push(createdMs);
    answered?.push(createdMs + turnMs);
  }
  const session = await call(work, 'POST', '/v1/sessions', {});
  const turns = `/v1/sessions/${session.id}/turns`;
  const warmUp = 20; // an emulator translates code the first times it runs
  for (let index = 0; index < warmUp + 4 * n; index += 1) {
    const [turn, turnMs] = await timed(() => call(work, 'POST', turns, { code: '1' }));
    const [, callerMs] = await timed(() => call(work, 'GET', '/v1/caller'));
    if (index < warmUp) continue;
    wholeTurn?.push(turnMs);
    overhead?.push(turnMs - turn.result.timings.guestMs);
    caller?.push(callerMs);
  }
  const { uploadMs, downloadMs } = await moveFile(work, session.id);
  await call(work, 'DELETE', `/v1/sessions/${session.id}`);
  return {
    created: created ?? [],
    answered: answered ?? [],
    wholeTurn: wholeTurn ?? [],
    overhead: overhead ?? [],
    caller: caller ?? [],
    uploadMs,
    downloadMs,
  };
}

const chunk = Buffer.alloc(1_048_576, 'bulkhead');

async function moveFile(
  work: HttpClientWork,
  session: string,
): Promise<{ readonly uploadMs: number; readonly downloadMs: number }> {
  const { url, key, fileBytes } = work;
  const path = `${url}/v1/sessions/${session}/files/content?path=bench.bin`;
  const authorization = `Bearer ${key}`;
  const sentHash = createHash('sha256');
  const [, uploadMs] = await timed(async () => {
    const done = Promise.withResolvers<void>();
    const sent = httpRequest(
      path,
      { method: 'PUT', agent, headers: { authorization, 'content-length': fileBytes } },
      (response) => {
        response
          .resume()
          .on('end', () => (response.statusCode === 200 ? done.resolve() : done.reject(new Error('upload'))));
      },
    );
    sent.on('error', done.reject);
    for (let left = fileBytes; left > 0; left -= chunk.length) {
      const part = chunk.subarray(0, left);
      sentHash.update(part);
      if (!sent.write(part)) await new Promise((resolve) => void sent.once('drain', resolve));
    }
    sent.end();
    await done.promise;
  });
  const receivedHash = createHash('sha256');
  const [, downloadMs] = await timed(async () => {
    const done = Promise.withResolvers<void>();
    const sent = httpRequest(path, { agent, headers: { authorization } }, (response) => {
      response.on('data', (part: Buffer) => void receivedHash.update(part)).on('end', done.resolve);
    });
    sent.on('error', done.reject);
    sent.end();
    await done.promise;
  });
  if (sentHash.digest('hex') !== receivedHash.digest('hex')) throw new Error('the file came back as another');
  return { uploadMs, downloadMs };
}

// oxlint-disable-next-line typescript/no-unsafe-type-assertion -- `bench http` starts it with exactly this
if (parentPort !== null) parentPort.postMessage(await measure(workerData as HttpClientWork));
