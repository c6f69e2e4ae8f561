// The command as its users type it, on real machines.

import assert from 'node:assert/strict';
import { type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { eventually, processesWith, useBulkhead } from './support.ts';

useBulkhead(); // makes image and template where they are not there yet
const root = join(import.meta.dirname, '..', '..');
const command = join(root, 'bulkhead');

function bulkhead(args: readonly string[], input = ''): SpawnSyncReturns<string> & { elapsedMs: number } {
  const started = performance.now();
  const result = spawnSync(command, args, { input, encoding: 'utf8', timeout: 120_000, maxBuffer: 64 * 1024 * 1024 });
  return Object.assign(result, { elapsedMs: performance.now() - started });
}

test('run --json prints one JSON document', (context) => {
  bulkhead(['run', '1']);
  const { stdout, status, stderr, elapsedMs } = bulkhead(['run', '--json', 'print(6*7)']);
  context.diagnostic(`the whole command took ${elapsedMs.toFixed(0)} ms`);
  assert.equal(status, 0, stderr);
  const document = JSON.parse(stdout) as Record<string, unknown>;
  assert.match(String(document['sessionId']), /^ses_/);
  assert.equal(document['status'], 'ok');
  assert.equal(document['stdout'], '42\n');
  assert.deepEqual(document['results'], []);
  assert.equal(document['error'], null);
  assert.equal(document['runtime'], 'qemu');
  assert.match(String(document['tier']), /^vm-(kvm|emulated)$/);
  assert.deepEqual(Object.keys(document['timings'] as object).sort(), ['launchMs', 'totalMs', 'turnMs']);
});

test('a shell driven from a pipe keeps variables and prints only what the code printed', () => {
  const { stdout, status, stderr } = bulkhead(['shell'], 'x = 41\n\nprint(x + 1)\n');
  assert.equal(stdout, '42\n', stderr);
  assert.equal(status, 0);
});

test('shell --json gives figures, data frames and tracebacks as rich results', () => {
  const blocks = [
    'import pandas as pd\npd.DataFrame({"a": [1]})',
    'import matplotlib.pyplot as plt\nplt.plot([1, 2]); None',
    '1 / 0',
  ];
  const { stdout } = bulkhead(['shell', '--json'], `${blocks.join('\n\n')}\n`);
  const [frame, figure, failed] = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { results: object[]; exception: { name: string } | null });
  assert.ok(frame?.results.some((data) => 'application/vnd.bulkhead.table+json' in data));
  assert.ok(figure?.results.some((data) => 'image/png' in data));
  assert.equal(failed?.exception?.name, 'ZeroDivisionError');
});

test('run --timeout ends an endless loop with its own exit code', () => {
  const { stdout, status, elapsedMs } = bulkhead(['run', '--json', '--timeout', '2', 'while True: pass']);
  const { error } = JSON.parse(stdout) as { error: { code: string } };
  assert.equal(error.code, 'turn_timeout');
  assert.equal(status, 124);
  assert.ok(elapsedMs < 5000, `${elapsedMs} ms`);
});

test('in a shell, the session outlives a timeout with its variables', () => {
  const { stdout } = bulkhead(['shell', '--timeout', '1'], 'x = 41\n\nwhile True: pass\n\nprint(x + 1)\n');
  assert.equal(stdout, '42\n');
});

test('run reads files and standard input, uploads and downloads', () => {
  const folder = mkdtempSync(join(tmpdir(), 'bulkhead-test-'));
  try {
    writeFileSync(join(folder, 'in.txt'), 'taken in');
    writeFileSync(join(folder, 'code.py'), 'open("out.txt", "w").write(open("in.txt").read().upper())\nprint("ran")');
    const { stdout, status, stderr } = bulkhead([
      'run',
      '-f',
      join(folder, 'code.py'),
      '--file',
      `${join(folder, 'in.txt')}:in.txt`,
      '--out',
      `out.txt:${join(folder, 'out.txt')}`,
    ]);
    assert.equal(status, 0, stderr);
    assert.equal(readFileSync(join(folder, 'out.txt'), 'utf8'), 'TAKEN IN');
    assert.match(stdout, /ran/);
    assert.equal(bulkhead(['run', '--lang', 'bash', '-'], 'echo from a pipe').stdout, 'from a pipe\n');
    assert.deepEqual(readdirSync(folder).sort(), ['code.py', 'in.txt', 'out.txt']);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('an error of the code is exit code 1 with its traceback on standard error', () => {
  const { status, stderr, stdout } = bulkhead(['run', 'print("before")\n1 / 0']);
  assert.equal(status, 1);
  assert.equal(stdout, 'before\n');
  assert.match(stderr, /ZeroDivisionError/);
});

test('Ctrl-C during a turn ends the command with nothing left running', async () => {
  const child = spawn(command, ['run', 'import time\nprint("up", flush=True)\ntime.sleep(300)'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  await new Promise((resolve) => child.stdout.once('data', resolve));
  const exited = new Promise<number | null>((resolve) => child.once('exit', resolve));
  child.kill('SIGINT');
  assert.equal(await exited, 130);
  await eventually('no process of it is left', () => processesWith(`:${child.pid}-`).length === 0);
});

test('two commands at once each get their own machine', async () => {
  const outputs = await Promise.all(
    [1, 2, 3].map(
      (n) =>
        new Promise<string>((resolve) => {
          const child = spawn(command, ['run', `import socket; print(${n}, socket.gethostname())`]);
          let text = '';
          child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
          child.once('exit', () => resolve(text.trim()));
        }),
    ),
  );
  assert.equal(new Set(outputs.map((line) => line.split(' ')[1])).size, 3, outputs.join(' | '));
});
