// `bulkhead serve` on the fake runtime, as a process of its own: for tests that come from outside.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const startTimeoutMs = 120_000;
const stopTimeoutMs = 60_000;

export interface FakeServer extends AsyncDisposable {
  readonly url: string;
  /** Of the first tenant; it may do everything. */
  readonly key: string;
  /** What it has logged last. */
  log(): string;
}

/** Quotas are out of the way. Errors: what the server logged, when it did not start. */
export async function startFakeServer(): Promise<FakeServer> {
  const folder = mkdtempSync(join(tmpdir(), 'bulkhead-serve-'));
  const child = spawn(join(import.meta.dirname, '../bulkhead'), ['serve', '--json', '--port', '0'], {
    env: {
      PATH: process.env['PATH'] ?? '',
      HOME: folder,
      BULKHEAD_STATE_DIR: join(folder, 'state'),
      BULKHEAD_CACHE_DIR: join(folder, 'cache'),
      BULKHEAD_RUNTIME: 'fake',
      BULKHEAD_ALLOW_FAKE: '1',
      BULKHEAD_QUOTA_SESSIONS: 'unlimited',
      BULKHEAD_QUOTA_MACHINES: 'unlimited',
      BULKHEAD_QUOTA_MEMORY_MIB: 'unlimited',
      BULKHEAD_QUOTA_DISK_MIB: 'unlimited',
      BULKHEAD_QUOTA_REQUESTS_PER_SECOND: 'unlimited',
      BULKHEAD_LOG_LEVEL: 'error',
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let log = '';
  child.stderr.on('data', (chunk: Buffer) => (log = `${log}${chunk.toString()}`.slice(-100_000)));
  const closed = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const stop = async (): Promise<void> => {
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), stopTimeoutMs);
    await closed;
    clearTimeout(timer);
    rmSync(folder, { recursive: true, force: true });
  };
  const timer = setTimeout(() => child.kill('SIGKILL'), startTimeoutMs);
  try {
    let [url, key] = ['', ''];
    for await (const line of createInterface({ input: child.stdout })) {
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what our own command writes
      const event = JSON.parse(line) as { readonly event: string; readonly url?: string; readonly secret?: string };
      url = event.url ?? url;
      key = event.secret ?? key;
      if (event.event === 'ready') return { url, key, log: () => log, [Symbol.asyncDispose]: stop };
    }
    throw new Error(`bulkhead serve did not start:\n${log}`);
  } catch (error) {
    await stop();
    throw error;
  } finally {
    clearTimeout(timer);
  }
}
