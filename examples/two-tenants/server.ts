// `bulkhead serve` as a process of its own, with a state of its own.

import { spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { z } from 'zod';

export interface Server extends AsyncDisposable {
  readonly url: string;
  /** Of who administers the installation. */
  readonly key: string;
  /** Its log, up to now. */
  readonly said: () => string;
}

const saidSchema = z.object({ event: z.string(), url: z.string().optional(), secret: z.string().optional() });
const command = join(import.meta.dirname, '../../bulkhead');

export async function startServer(stateDir: string, onProgress: (message: string) => void): Promise<Server> {
  mkdirSync(stateDir);
  const own = { BULKHEAD_STATE_DIR: stateDir, BULKHEAD_PORT: '0', BULKHEAD_QUOTA_REQUESTS_PER_SECOND: 'unlimited' };
  const child = spawn(command, ['serve', '--json'], {
    env: { ...process.env, ...own },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let log = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    log += text;
    // Progress is for people; the rest is the log, in JSON.
    for (const line of text.split('\n')) if (line !== '' && !line.startsWith('{')) onProgress(line);
  });
  const exited = new Promise<void>((resolve) => void child.once('close', () => resolve()));
  let [url, key] = ['', ''];
  for await (const line of createInterface({ input: child.stdout })) {
    const said = saidSchema.parse(JSON.parse(line));
    if (said.event === 'first_key') key = said.secret ?? '';
    if (said.event === 'listening') url = said.url ?? '';
    if (said.event === 'ready') break;
  }
  const stop = async (): Promise<void> => {
    child.stdout.resume();
    child.kill('SIGTERM');
    await exited;
  };
  if (url === '') {
    await stop();
    throw new Error(`The server did not start.\n${log}`);
  }
  return { url, key, said: () => log, [Symbol.asyncDispose]: stop };
}
