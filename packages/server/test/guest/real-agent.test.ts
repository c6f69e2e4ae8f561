// The two ends of the channel as they are: the host's, and guest/agent as a process of this machine.

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { openGuest } from '../../src/guest/channel.ts';
import type { Guest, GuestEvent, RunRequest } from '../../src/guest/guest.ts';
import { chunks, collect, identity } from './fake-guest.ts';

const agent = fileURLToPath(new URL('../../../../guest/agent/main.py', import.meta.url));
const skip = existsSync(agent) ? false : 'guest/agent/main.py is not there';

async function startAgent(context: TestContext): Promise<{ guest: Guest; home: string; child: ChildProcess }> {
  const home = await mkdtemp(join(tmpdir(), 'bulkhead-agent-'));
  const child = spawn('/usr/bin/python3', ['-I', agent, '--fd', '3', '--development', '--home', home], {
    stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
  });
  const exited = once(child, 'exit');
  const stream = child.stdio[3];
  assert.ok(stream instanceof Duplex);
  const guest = openGuest(stream);
  context.after(async () => {
    await guest[Symbol.asyncDispose]();
    await exited;
    await rm(home, { recursive: true, force: true });
  });
  await guest.hello();
  const { clockSkewMs } = await guest.identify(identity);
  assert.ok(Math.abs(clockSkewMs) < 500, `skew ${clockSkewMs} ms`);
  return { guest, home, child };
}

function bash(code: string): RunRequest {
  return {
    language: 'bash',
    context: 'default',
    code: Buffer.from(code),
    maxOutputBytes: 8_388_608,
    maxEventBytes: 33_554_432,
  };
}

function outputOf(events: readonly GuestEvent[], type: 'stdout' | 'stderr'): string {
  const pieces = events.flatMap((event) => (event.type === type && 'bytes' in event ? [event.bytes] : []));
  return Buffer.concat(pieces).toString();
}

test('turns keep their shell, can be interrupted, and die when they are killed', { skip }, async (context) => {
  const { guest } = await startAgent(context);
  const first = guest.run(bash('x=41; echo out; echo err >&2'));
  const events = await collect(first.events);
  assert.equal(outputOf(events, 'stdout'), 'out\n');
  assert.equal(outputOf(events, 'stderr'), 'err\n');
  assert.equal((await first.outcome).status, 'ok');

  const second = guest.run(bash('echo $((x + 1)); false'));
  assert.equal(outputOf(await collect(second.events), 'stdout'), '42\n');
  {
    const { status, exitCode, fate } = await second.outcome;
    assert.deepEqual({ status, exitCode, fate }, { status: 'error', exitCode: 1, fate: 'kept' });
  }

  const third = guest.run(bash('echo ready; sleep 100'));
  const busy = guest.run(bash('echo no'));
  await assert.rejects(busy.outcome, { code: 'state_conflict' });
  for await (const event of third.events) if (event.type === 'stdout') third.interrupt();
  {
    const { status, fate } = await third.outcome;
    assert.deepEqual({ status, fate }, { status: 'interrupted', fate: 'kept' });
  }

  const fourth = guest.run(bash('echo $x; sleep 100'));
  for await (const event of fourth.events) if (event.type === 'stdout') fourth.kill();
  {
    const { status, fate } = await fourth.outcome;
    assert.deepEqual({ status, fate }, { status: 'died', fate: 'lost' });
  }
  const fifth = guest.run(bash('echo "[$x]"'));
  assert.equal(outputOf(await collect(fifth.events), 'stdout'), '[]\n');
});

test('a flood of output is held, cut where the guest was told, and counted', { skip }, async (context) => {
  const { guest } = await startAgent(context);
  const run = guest.run({ ...bash('head -c 5000000 /dev/zero | tr "\\0" y'), maxOutputBytes: 1_000_000 });
  let size = 0;
  for await (const event of run.events) if ('bytes' in event) size += event.bytes.length;
  const { dropped } = await run.outcome;
  assert.equal(size, 1_000_000);
  assert.equal(dropped.stdout, 4_000_000);
  const left = guest.run(bash('yes'));
  for await (const _ of left.events) break;
  left.kill();
  assert.equal((await left.outcome).status, 'died');
});

test('commands have input, environment, a folder, an exit code and a terminal', { skip }, async (context) => {
  const { guest } = await startAgent(context);
  const content = randomBytes(3_000_000);
  const exec = guest.exec({
    argv: ['sha256sum'],
    stdin: chunks(content.subarray(0, 1_000_000), content.subarray(1_000_000)),
  });
  const output = await collect(exec.output);
  const digest = createHash('sha256').update(content).digest('hex');
  assert.equal(Buffer.concat(output.map(({ bytes }) => bytes)).toString(), `${digest}  -\n`);
  assert.equal((await exec.outcome).exitCode, 0);

  const second = guest.exec({ argv: ['sh', '-c', 'echo $A; pwd; exit 3'], env: { A: 'b' }, cwd: '/tmp' });
  assert.equal(Buffer.concat((await collect(second.output)).map(({ bytes }) => bytes)).toString(), 'b\n/tmp\n');
  assert.equal((await second.outcome).exitCode, 3);

  await assert.rejects(guest.exec({ argv: ['/no/such/program'] }).outcome, { code: 'not_found' });

  const terminal = guest.exec({
    argv: ['sh', '-c', 'tty >/dev/null && stty size; sleep 100'],
    pty: { columns: 101, rows: 31 },
  });
  for await (const { bytes } of terminal.output) {
    assert.match(Buffer.from(bytes).toString(), /31 101/);
    break;
  }
  terminal.kill();
  assert.equal((await terminal.outcome).signal, 9);

  const process = await guest.startProcess({ argv: ['sh', '-c', 'echo background; sleep 100'] });
  let kept = '';
  while (kept === '') kept = Buffer.concat(await collect(guest.processOutput(process))).toString();
  assert.equal(kept, 'background\n');
  assert.equal((await guest.listProcesses()).find((found) => found.process === process)?.running, true);
  await guest.killProcess(process);
});

test('a server in the guest is reached, both ways and to its end', { skip }, async (context) => {
  const { guest } = await startAgent(context);
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const hash = createHash('sha256');
    socket.on('data', (bytes: Buffer) => hash.update(bytes));
    socket.on('end', () => socket.end(hash.digest('hex')));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  context.after(() => server.close());
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  const content = randomBytes(8_000_000);
  const connection = await guest.connect(address.port);
  connection.end(content);
  assert.equal(await text(connection), createHash('sha256').update(content).digest('hex'));
  server.close();
  await once(server, 'close');
  await assert.rejects(guest.connect(address.port), { code: 'port_unreachable' });
});

test('64 MB go up and come down as they were', { skip }, async (context) => {
  const { guest, home } = await startAgent(context);
  const content = randomBytes(64 * 1_048_576);
  const digest = createHash('sha256').update(content).digest('hex');
  async function* pieces(): AsyncGenerator<Uint8Array> {
    for (let offset = 0; offset < content.length; offset += 1_048_576)
      yield content.subarray(offset, offset + 1_048_576);
  }
  const start = performance.now();
  await guest.writeFile('big', pieces(), content.length);
  const middle = performance.now();
  const hash = createHash('sha256');
  for await (const bytes of guest.readFile('big')) hash.update(bytes);
  const end = performance.now();
  assert.equal(hash.digest('hex'), digest);
  assert.ok((await readFile(join(home, 'big'))).equals(content));
  context.diagnostic(`64 MB up in ${(middle - start).toFixed(0)} ms, down in ${(end - middle).toFixed(0)} ms`);
});

test('files are listed, moved and removed; half an upload leaves nothing', { skip }, async (context) => {
  const { guest } = await startAgent(context);
  await guest.mkdir('a/b');
  await guest.writeFile('a/one', chunks('1'), 1);
  await guest.writeFile('a/line\nbreak', chunks(''), 0);
  const { entries, truncated } = await guest.listFiles('a');
  assert.deepEqual([entries.map(({ name }) => name).sort(), truncated], [['b', 'line\nbreak', 'one'], false]);
  assert.equal((await guest.stat('a/one')).sizeBytes, 1);
  await guest.move('a/one', 'a/two');
  await assert.rejects(guest.stat('a/one'), { code: 'file_error' });
  await assert.rejects(guest.writeFile('a/cut', chunks('123'), 10), { code: 'upload_incomplete' });
  await assert.rejects(collect(guest.readFile('a')), { code: 'file_error' });
  const names = (await guest.listFiles('a')).entries.map(({ name }) => name).sort();
  assert.deepEqual(names, ['b', 'line\nbreak', 'two']);
  await assert.rejects(collect(guest.readFile('/dev/null')), { code: 'file_error' });
  await guest.remove('a', { recursive: true });
  await assert.rejects(guest.listFiles('a'), { code: 'file_error' });
  await guest.settle();
  assert.ok((await guest.info()).memoryFreeBytes > 0);
});

test('a new epoch is taken by a running agent; its death is a lost machine', { skip }, async (context) => {
  const { guest, child } = await startAgent(context);
  await guest.identify({ ...identity, epoch: 2 });
  await guest.ping();
  const run = guest.run(bash('echo here; sleep 100'));
  for await (const _ of run.events) break;
  child.kill('SIGKILL');
  await assert.rejects(run.outcome, { code: 'machine_lost' });
  assert.equal((await guest.ended).reason, 'ended');
});

test('a turn costs little beyond the time of the guest', { skip }, async (context) => {
  const { guest } = await startAgent(context);
  const times: number[] = [];
  for (let count = 0; count < 200; count += 1) {
    const start = performance.now();
    const run = guest.run(bash(':'));
    await collect(run.events);
    const { elapsedMs } = await run.outcome;
    times.push(performance.now() - start - elapsedMs);
  }
  times.sort((a, b) => a - b);
  assert.ok((times[100] ?? 0) < 3, `median ${times[100]} ms`);
  context.diagnostic(
    `turn beyond the guest's own time: median ${times[100]?.toFixed(2)} ms, p95 ${times[190]?.toFixed(2)} ms`,
  );
});
