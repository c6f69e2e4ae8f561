// Servers of others on loopback, as processes of this one's.

import type { ChildProcess } from 'node:child_process';
import { type Server, createServer } from 'node:net';

const readyWithinMs = 30_000;
const answerWithinMs = 5000;
const pollMs = 50;

/** Different from each other, and free until somebody else takes one. */
export async function freePorts(count: number): Promise<readonly number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  const ports = await Promise.all(servers.map(listen));
  await Promise.all(servers.map((server) => new Promise((resolve) => void server.close(resolve))));
  return ports;
}

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(0, '127.0.0.1', resolve);
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('It has no port.');
  return address.port;
}

/** Waits until a server answers at all of `urls`, and gives what kills it. One that ends or does not answer in time is killed, and an error is thrown. */
export async function whenReady(child: ChildProcess, urls: readonly string[]): Promise<AsyncDisposable> {
  let isRunning = true;
  const ended = new Promise<void>((resolve) => {
    const end = (): void => {
      isRunning = false;
      resolve();
    };
    child.once('close', end).once('error', end);
  });
  const stop = async (): Promise<void> => {
    child.kill('SIGKILL');
    await ended;
  };
  const deadline = performance.now() + readyWithinMs;
  for (;;) {
    const isReady = await Promise.all(urls.map(isAnswering));
    if (isReady.every(Boolean) && isRunning) return { [Symbol.asyncDispose]: stop };
    if (!isRunning || performance.now() > deadline) {
      await stop();
      throw new Error(`${child.spawnfile} is not ready at ${urls.join(', ')}`);
    }
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}

async function isAnswering(url: string): Promise<boolean> {
  try {
    return (await fetch(url, { signal: AbortSignal.timeout(answerWithinMs) })).ok;
  } catch {
    return false;
  }
}
