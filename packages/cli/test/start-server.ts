import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fakeEnvironment, nodeArguments } from './run-cli.ts';

export interface Server extends AsyncDisposable {
  readonly url: string;
  readonly key: string;
}

/** `bulkhead serve` on a port that is free, and its first key. */
export async function startServer(home: string, port = '0'): Promise<Server> {
  const child = spawn(process.execPath, [...nodeArguments, 'serve', '--json', '--quiet', '--port', port], {
    cwd: home,
    env: { ...fakeEnvironment(home), BULKHEAD_LOG_LEVEL: 'silent', BULKHEAD_DRAIN_SECONDS: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const ended = new Promise<void>((resolve) => void child.once('close', resolve));
  let url: string | undefined;
  let key = '';
  for await (const line of createInterface({ input: child.stdout })) {
    const event = JSON.parse(line) as { event: string; url?: string; secret?: string };
    if (event.event === 'first_key') key = event.secret ?? '';
    if (event.event === 'listening') url = event.url;
    if (event.event === 'ready') break;
  }
  assert.ok(url !== undefined, `the server listens: ${stderr}`);
  child.stdout.resume();
  return {
    url,
    key,
    async [Symbol.asyncDispose]() {
      child.kill('SIGTERM');
      await ended;
    },
  };
}
