// `bulkhead serve` as a process of its own, on the fake runtime.

import { type ChildProcess, spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { checkoutRoot } from '../structure/checkout.ts';
import { type Answer, type Asked, ask, toAnswer } from './harness.ts';

export interface ServerProcess extends AsyncDisposable {
  readonly url: string;
  /** Of the first start. */
  readonly secret: string | undefined;
  readonly child: ChildProcess;
  readonly exited: Promise<number | NodeJS.Signals | null>;
  /** What it has said so far. */
  readonly said: () => string;
  call(method: string, path: string, asked?: Asked): Promise<Answer>;
}

/** The first one of a host builds an image and a template. */
const readyMaxMs = 600_000;

export async function startServerProcess(
  home: string,
  environment: Readonly<Record<string, string>> = {},
): Promise<ServerProcess> {
  const main = join(checkoutRoot, 'packages/cli/src/main.ts');
  const args = ['--conditions=bulkhead-source', '--disable-warning=ExperimentalWarning', main, 'serve', '--json'];
  const child = spawn(process.execPath, args, {
    env: {
      PATH: process.env['PATH'] ?? '',
      HOME: home,
      BULKHEAD_STATE_DIR: join(home, 'state'),
      BULKHEAD_RUNTIME: 'fake',
      BULKHEAD_ALLOW_FAKE: '1',
      BULKHEAD_PORT: '0',
      BULKHEAD_QUOTA_REQUESTS_PER_SECOND: 'unlimited',
      ...environment,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [stdout, stderr] = ['', ''];
  const exited = new Promise<number | NodeJS.Signals | null>(
    (resolve) => void child.once('exit', (code, signal) => resolve(signal ?? code)),
  );
  const listening = Promise.withResolvers<void>();
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
    if (stdout.includes('"ready"')) listening.resolve();
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  void exited.then(() => listening.reject(new Error(`it ended: ${stdout}${stderr}`)));
  const timer = setTimeout(() => listening.reject(new Error(`it is not ready: ${stdout}${stderr}`)), readyMaxMs);
  await listening.promise.finally(() => clearTimeout(timer));
  const events = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, string>);
  const url = events.find(({ event }) => event === 'listening')?.['url'] ?? '';
  return {
    url,
    secret: events.find(({ event }) => event === 'first_key')?.['secret'],
    child,
    exited,
    said: () => stdout + stderr,
    call: async (method, path, asked) => await toAnswer(await ask(url, method, path, asked)),
    async [Symbol.asyncDispose]() {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
      await exited;
    },
  };
}

/** A port that nobody listens on now. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => void server.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}
