// The service on real machines, as a process of its own: what a client sees of turns, files, commands and sleep.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { TurnEvent } from '@bulkhead/protocol';
import { loadConfig } from '@bulkhead/server';
import { collectEvents, readEvents, stdoutOf } from '../../packages/server/test/api/event-reader.ts';
import { ask, expectStatus, until } from '../../packages/server/test/api/harness.ts';
import { type ServerProcess, startServerProcess } from '../../packages/server/test/api/server-process.ts';

const home = mkdtempSync(join(tmpdir(), 'bulkhead-serve-'));
const events = { accept: 'text/event-stream' };
/** 2 GB takes minutes where machines are emulated: `BULKHEAD_TEST_FILE_MIB=2048`. */
const fileBytes = Number(process.env['BULKHEAD_TEST_FILE_MIB'] ?? 96) * 1_048_576;
let server: ServerProcess;
let key: string;

before(async () => {
  server = await startServerProcess(home, { BULKHEAD_RUNTIME: 'qemu', BULKHEAD_CACHE_DIR: loadConfig().cacheDir });
  key = server.secret ?? assert.fail('the first start says a key');
});
after(async () => {
  server.child.kill('SIGTERM');
  assert.equal(await server.exited, 0);
  rmSync(home, { recursive: true, force: true });
});

async function newSession(size = 'small'): Promise<string> {
  const made = expectStatus(await server.call('POST', '/v1/sessions', { key, body: { size } }), 201);
  return `/v1/sessions/${made.id}`;
}
async function run(session: string, code: string): Promise<string> {
  const { result } = expectStatus(await server.call('POST', `${session}/turns`, { key, body: { code } }), 201);
  assert.equal(result.status, 'ok', JSON.stringify(result));
  return result.stdout;
}

test('a turn that prints for 20 s, cut ten times, is put together byte for byte, and ran once', async (t) => {
  const session = await newSession();
  const code = `import time
open('ran', 'a').write('once\\n')
for line in range(200):
    print(f'line {line} ' + 'é' * (line % 50), flush=True)
    time.sleep(0.1)`;
  const { id } = expectStatus(
    await server.call('POST', `${session}/turns`, { key, body: { code, wait: 'none' } }),
    201,
  );
  const got: TurnEvent[] = [];
  let cuts = 0;
  while (got.at(-1)?.type !== 'end') {
    const cut = new AbortController();
    const headers = { ...events, 'last-event-id': String(got.length) };
    const response = await ask(server.url, 'GET', `${session}/turns/${id}/events`, {
      key,
      headers,
      signal: cut.signal,
    });
    const keep = cuts < 10 ? 1 + Math.floor(Math.random() * 15) : Number.POSITIVE_INFINITY;
    let read = 0;
    for await (const { data } of readEvents(response)) {
      got.push(data as TurnEvent);
      read += 1;
      if (read >= keep) break;
    }
    if (got.at(-1)?.type !== 'end') cuts += 1;
    cut.abort();
  }
  const expected = Array.from({ length: 200 }, (_, line) => `line ${line} ${'é'.repeat(line % 50)}\n`).join('');
  assert.equal(stdoutOf(got), expected);
  assert.deepEqual(
    got.map(({ seq }) => seq),
    got.map((_, index) => index + 1),
  );
  assert.ok(cuts >= 10);
  assert.equal(await run(session, "print(open('ran').read(), end='')"), 'once\n');
  t.diagnostic(`${cuts} cuts, ${got.length} events`);
  expectStatus(await server.call('DELETE', session, { key }), 200);
});

interface Transfer {
  readonly uploadMs: number;
  readonly downloadMs: number;
}

/** There and back; the digests are equal. */
async function transfer(path: string, bytes: number): Promise<Transfer> {
  const [sent, received] = [createHash('sha256'), createHash('sha256')];
  const chunk = Buffer.alloc(1_048_576);
  const started = performance.now();
  await new Promise<void>((resolve, reject) => {
    const headers = { authorization: `Bearer ${key}`, 'content-length': bytes };
    const upload = httpRequest(path, { method: 'PUT', headers }, (response) => {
      response.resume().once('end', () => {
        if (response.statusCode === 200) resolve();
        else reject(new Error(`${response.statusCode}`));
        upload.destroy();
      });
    });
    upload.once('error', reject);
    void (async () => {
      for (let at = 0; at < bytes; at += chunk.length) {
        chunk.writeUInt32LE(at / chunk.length);
        sent.update(chunk);
        if (!upload.write(Buffer.from(chunk))) await new Promise((drained) => void upload.once('drain', drained));
      }
      upload.end();
    })();
  });
  const uploadMs = performance.now() - started;
  const response = await fetch(path, { headers: { authorization: `Bearer ${key}` } });
  for await (const part of response.body ?? []) received.update(part);
  assert.equal(received.digest('hex'), sent.digest('hex'));
  return { uploadMs, downloadMs: performance.now() - started - uploadMs };
}

test('a large file goes in and out with the same digest, and the server does not hold it', async (t) => {
  const session = await newSession(fileBytes > 1_800_000_000 ? 'medium' : 'small');
  const path = `${server.url}${session}/files/content?path=large.bin`;
  // What the first bytes of all make the server load is not on the file's account.
  await transfer(path, 16 * 1_048_576);
  const idleKib = residentKib();
  let mostKib = idleKib;
  const sampling = setInterval(() => (mostKib = Math.max(mostKib, residentKib())), 50);
  const { uploadMs, downloadMs } = await transfer(path, fileBytes).finally(() => clearInterval(sampling));
  const speed = (ms: number): string => (fileBytes / 1000 / ms).toFixed(1);
  t.diagnostic(
    `${fileBytes / 1_048_576} MiB: up ${speed(uploadMs)} MB/s, down ${speed(downloadMs)} MB/s, the server grew by ${((mostKib - idleKib) / 1024).toFixed(0)} MiB`,
  );
  assert.ok(mostKib - idleKib < 64 * 1024, `the server grew by ${mostKib - idleKib} KiB`);
  expectStatus(await server.call('DELETE', session, { key }), 200);
});

function residentKib(): number {
  const status = readFileSync(`/proc/${server.child.pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0);
}

test('half an upload leaves nothing, a cancel ends a turn, and a session sleeps and wakes', async () => {
  const session = await newSession();
  const gone = new AbortController();
  let left = 25_000;
  const body = new ReadableStream({
    pull(controller) {
      if (left > 0) controller.enqueue(new Uint8Array(1000));
      left -= 1;
    },
  });
  const half = fetch(`${server.url}${session}/files/content?path=half.bin`, {
    method: 'PUT',
    headers: { authorization: `Bearer ${key}`, 'content-length': '50000000' },
    body,
    duplex: 'half',
    signal: gone.signal,
  }).catch(() => undefined);
  await until(
    async () => (await run(session, "import os; print(os.listdir('.'))")).includes('['),
    'the machine answers meanwhile',
  );
  gone.abort();
  await half;
  await until(
    async () => (await run(session, "import os; print([n for n in os.listdir('.') if 'half' in n])")) === '[]\n',
    'nothing is left',
  );

  await run(session, 'kept = 41');
  const { id } = expectStatus(
    await server.call('POST', `${session}/turns`, { key, body: { code: 'while True: pass', wait: 'none' } }),
    201,
  );
  expectStatus(await server.call('POST', `${session}/turns/${id}/cancel`, { key }), 202);
  const told = await collectEvents(
    await ask(server.url, 'GET', `${session}/turns/${id}/events`, { key, headers: events }),
  );
  const end = told.at(-1);
  assert.ok(end?.type === 'end' && end.outcome.error?.code === 'turn_interrupted');

  const command = await server.call('POST', `${session}/commands`, {
    key,
    body: { argv: ['sh', '-c', 'cat; echo err >&2; exit 3'], stdin: 'in' },
  });
  const { exitCode, stdout, stderr } = expectStatus(command, 201);
  assert.deepEqual([exitCode, stdout, stderr], [3, 'in', 'err\n']);
  const late = await server.call('POST', `${session}/commands`, {
    key,
    body: { argv: ['sleep', '60'], timeoutMs: 500 },
  });
  assert.equal(expectStatus(late, 201).timedOut, true);
  const flood = await server.call('POST', `${session}/commands`, {
    key,
    body: { argv: ['head', '-c', '6000000', '/dev/zero'] },
  });
  const { stdout: kept, truncated } = expectStatus(flood, 201);
  assert.equal(kept.length + truncated.stdoutBytes, 6_000_000);
  const { process: background } = expectStatus(
    await server.call('POST', `${session}/processes`, { key, body: { argv: ['sh', '-c', 'echo hi; sleep 600'] } }),
    201,
  );
  await until(
    async () => (await server.call('GET', `${session}/processes/${background}/output`, { key })).text === 'hi\n',
    'it has printed',
  );
  expectStatus(await server.call('DELETE', `${session}/processes/${background}`, { key }), 204);

  assert.equal(expectStatus(await server.call('POST', `${session}/suspend`, { key }), 200).state, 'suspended');
  assert.equal(await run(session, 'print(kept + 1)'), '42\n', 'a turn wakes it');
  expectStatus(await server.call('DELETE', session, { key }), 200);
  assert.equal(
    expectStatus(await server.call('POST', `${session}/turns`, { key, body: { code: '1' } }), 410).code,
    'session_ended',
  );
});
