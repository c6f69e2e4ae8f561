// Each operation against a guest that does as it should.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BulkheadError } from '@bulkhead/protocol';
import { dataFlags, frameTypes } from '../../src/guest/frame.ts';
import { chunks, collect, confirmation, confirmedPair, identity, pair, runResult } from './fake-guest.ts';

const request = {
  language: 'python',
  context: 'default',
  code: Buffer.from('6*7'),
  maxOutputBytes: 1_000_000,
  maxEventBytes: 10_000_000,
} as const;

async function* broken(): AsyncGenerator<Uint8Array> {
  yield Buffer.from('1');
  throw new Error('disk on fire');
}

test('a machine says HELLO, takes its identity and proves it', async () => {
  const { guest, fake } = pair();
  fake.hello();
  await guest.hello();
  await assert.rejects(guest.ping(), { code: 'state_conflict' });
  const confirmed = guest.identify(identity);
  const { body } = await fake.takeJson(frameTypes.identify);
  assert.equal(body['hostname'], identity.hostname);
  assert.equal(body['machineId'], identity.machineId);
  assert.equal(Buffer.from(String(body['entropy']), 'base64').length, 256);
  fake.epoch = 1;
  const late = String(BigInt(Date.now() + 5000) * 1_000_000n);
  fake.send(frameTypes.confirm, 0, { ...confirmation(body), unixTimeNs: late });
  const { bootId, clockSkewMs } = await confirmed;
  assert.match(bootId, /^[0-9a-f-]{36}$/);
  assert.ok(Math.abs(clockSkewMs - 5000) < 200, `skew ${clockSkewMs}`);
  // A running machine takes the next identity, and only the next.
  await assert.rejects(guest.identify({ ...identity, epoch: 3 }), { code: 'state_conflict' });
  await Promise.all([guest.identify({ ...identity, epoch: 2 }), fake.confirm()]);
  const pinged = guest.ping();
  const ping = await fake.take(frameTypes.ping);
  assert.equal(ping.header.epoch, 2);
  fake.send(frameTypes.pong, 0, ping.payload);
  await pinged;
  await guest[Symbol.asyncDispose]();
  assert.deepEqual(await guest.ended, { reason: 'closed', detail: '' });
  await guest[Symbol.asyncDispose]();
  await assert.rejects(guest.ping(), { code: 'session_ended' });
});

test('a turn gives its events in order, then its outcome', async () => {
  const { guest, fake } = await confirmedPair();
  const run = guest.run(request);
  const { stream, body } = await fake.takeJson(frameTypes.open);
  assert.deepEqual(body, {
    op: 'run',
    language: 'python',
    context: 'default',
    maxOutputBytes: 1_000_000,
    maxEventBytes: 10_000_000,
  });
  const code = await fake.take(frameTypes.data);
  assert.equal(code.payload.toString(), '6*7');
  assert.equal(code.header.flags, dataFlags.end);
  fake.data(stream, 1, 'a');
  fake.data(stream, 2, 'b');
  fake.message(stream, { type: 'result', data: { 'text/plain': '42' } });
  fake.data(stream, 1, 'c', dataFlags.end);
  fake.message(stream, { type: 'exception', name: 'E', value: 'v', traceback: 't', frames: [] });
  fake.close(stream, { ...runResult, status: 'error', exitCode: 1 });
  const events = await collect(run.events);
  assert.deepEqual(
    events.map((event) => ('bytes' in event ? [event.type, Buffer.from(event.bytes).toString()] : event)),
    [
      ['stdout', 'a'],
      ['stderr', 'b'],
      { type: 'result', data: { 'text/plain': '42' }, sizeBytes: 44 },
      ['stdout', 'c'],
      { type: 'exception', exception: { name: 'E', value: 'v', traceback: 't', frames: [] } },
    ],
  );
  assert.deepEqual(await run.outcome, {
    status: 'error',
    fate: 'kept',
    elapsedMs: 1.5,
    dropped: { stdout: 0, stderr: 0, events: 0 },
    exitCode: 1,
    signal: null,
  });
  run.kill();
  assert.equal(fake.inbox.length, 0, 'a signal after the end is not sent');
});

test('interrupt, kill and resize are signals of the stream', async () => {
  const { guest, fake } = await confirmedPair();
  const run = guest.run(request);
  const exec = guest.exec({ argv: ['sh'], pty: { columns: 80, rows: 24 }, env: { A: 'b' }, cwd: '/tmp' });
  const first = await fake.takeJson(frameTypes.open);
  const second = await fake.takeJson(frameTypes.open);
  assert.deepEqual(second.body, {
    op: 'exec',
    argv: ['sh'],
    cwd: '/tmp',
    env: { A: 'b' },
    pty: { columns: 80, rows: 24 },
  });
  run.interrupt();
  run.kill();
  exec.resize(100, 30);
  assert.deepEqual(await fake.takeJson(frameTypes.signal), { stream: first.stream, body: { signal: 'interrupt' } });
  assert.deepEqual(await fake.takeJson(frameTypes.signal), { stream: first.stream, body: { signal: 'kill' } });
  assert.deepEqual(await fake.takeJson(frameTypes.signal), {
    stream: second.stream,
    body: { signal: 'resize', columns: 100, rows: 30 },
  });
});

test('a command takes its input and gives its output', async () => {
  const { guest, fake } = await confirmedPair();
  const exec = guest.exec({ argv: ['cat'], stdin: chunks('one', 'two') });
  const { stream } = await fake.takeJson(frameTypes.open);
  const sent = [await fake.take(frameTypes.data), await fake.take(frameTypes.data), await fake.take(frameTypes.data)];
  assert.deepEqual(
    sent.map((frame) => [frame.payload.toString(), frame.header.flags]),
    [
      ['one', 0],
      ['two', 0],
      ['', dataFlags.end],
    ],
  );
  fake.data(stream, 1, 'onetwo');
  fake.data(stream, 2, 'warn');
  fake.close(stream, { exitCode: 0, signal: null, elapsedNs: '2000000' });
  const output = await collect(exec.output);
  assert.deepEqual(
    output.map((piece) => [piece.stream, Buffer.from(piece.bytes).toString()]),
    [
      ['stdout', 'onetwo'],
      ['stderr', 'warn'],
    ],
  );
  assert.deepEqual(await exec.outcome, { exitCode: 0, signal: null, elapsedMs: 2 });
});

test('a command that closes early stops its input; a failing input kills the command', async () => {
  const { guest, fake } = await confirmedPair();
  const told = Promise.withResolvers<void>();
  async function* endless(): AsyncGenerator<Uint8Array> {
    try {
      for (;;) yield Buffer.alloc(100_000);
    } finally {
      told.resolve();
    }
  }
  const exec = guest.exec({ argv: ['true'], stdin: endless() });
  const { stream } = await fake.takeJson(frameTypes.open);
  fake.close(stream, { exitCode: 0, signal: null, elapsedNs: '1' });
  await exec.outcome;
  await told.promise;

  const second = guest.exec({ argv: ['cat'], stdin: broken() });
  await assert.rejects(second.outcome, { code: 'upload_incomplete' });
  assert.deepEqual((await fake.takeJson(frameTypes.signal)).body, { signal: 'kill' });
  await guest[Symbol.asyncDispose]();
});

test('control calls carry their parameters and check their results', async () => {
  const { guest, fake } = await confirmedPair();
  const answers: Record<string, object> = {
    'context.restart': {},
    'context.list': { contexts: [{ language: 'bash', context: 'c', alive: true, busy: false, extra: 1 }] },
    'process.start': { process: 'p1' },
    'process.list': {
      processes: [{ process: 'p1', argv: ['a'], running: true, exitCode: null, signal: null, outputBytes: 3 }],
    },
    'process.kill': { exitCode: null, signal: 9 },
    'file.stat': { kind: 'file', size: 3, mode: 0o644, modifiedNs: '-1500000' },
    'file.move': {},
    'file.remove': {},
    'file.mkdir': {},
    info: { memoryFreeBytes: 1, scratchFreeBytes: 2, processes: 3 },
    settle: {},
  };
  const asked: unknown[] = [];
  fake.onFrame = ({ header, payload }) => {
    if (header.type !== frameTypes.open) return false;
    const body: { op: string } = JSON.parse(payload.toString());
    asked.push(body);
    fake.close(header.stream, answers[body.op] ?? {});
    return true;
  };
  await guest.restartContext('python', 'c');
  assert.deepEqual(await guest.listContexts(), [{ language: 'bash', context: 'c', alive: true, busy: false }]);
  assert.equal(await guest.startProcess({ argv: ['a'] }), 'p1');
  assert.equal((await guest.listProcesses())[0]?.outputBytes, 3);
  await guest.killProcess('p1');
  assert.deepEqual(await guest.stat('f'), { kind: 'file', sizeBytes: 3, mode: 0o644, modifiedMs: -1.5 });
  await guest.move('a', 'b');
  await guest.remove('a', { recursive: true });
  await guest.mkdir('d');
  assert.deepEqual(await guest.info(), { memoryFreeBytes: 1, scratchFreeBytes: 2, processes: 3 });
  await guest.settle();
  assert.deepEqual(asked, [
    { op: 'context.restart', language: 'python', context: 'c' },
    { op: 'context.list' },
    { op: 'process.start', argv: ['a'] },
    { op: 'process.list' },
    { op: 'process.kill', process: 'p1' },
    { op: 'file.stat', path: 'f' },
    { op: 'file.move', from: 'a', to: 'b' },
    { op: 'file.remove', path: 'a', recursive: true },
    { op: 'file.mkdir', path: 'd' },
    { op: 'info' },
    { op: 'settle' },
  ]);
});

test('files are read, listed and written', async () => {
  const { guest, fake } = await confirmedPair();
  const read = collect(guest.readFile('a'));
  let { stream } = await fake.takeJson(frameTypes.open);
  fake.data(stream, 1, 'content');
  fake.data(stream, 1, '', dataFlags.end);
  fake.close(stream, { size: 7 });
  assert.equal(Buffer.concat(await read).toString(), 'content');

  const listed = guest.listFiles('.');
  ({ stream } = await fake.takeJson(frameTypes.open));
  fake.message(stream, { name: 'x\ny', kind: 'directory', size: 0, mode: 0o755, modifiedNs: '1000000' });
  fake.close(stream, { truncated: true });
  assert.deepEqual(await listed, {
    entries: [{ name: 'x\ny', kind: 'directory', sizeBytes: 0, mode: 0o755, modifiedMs: 1 }],
    truncated: true,
  });

  const written = guest.writeFile('b', chunks('12', '345'), 5);
  const opened = await fake.takeJson(frameTypes.open);
  assert.deepEqual(opened.body, { op: 'file.write', path: 'b', size: 5 });
  await fake.take(frameTypes.data);
  await fake.take(frameTypes.data);
  assert.equal((await fake.take(frameTypes.data)).header.flags, dataFlags.end);
  fake.close(opened.stream, { size: 5 });
  await written;
});

test('an upload that is short, long or broken never ends as written', async () => {
  const { guest, fake } = await confirmedPair();
  await assert.rejects(guest.writeFile('b', chunks('12'), 5), { code: 'upload_incomplete' });
  await assert.rejects(guest.writeFile('b', chunks('123456'), 5), { code: 'invalid_request' });
  await assert.rejects(guest.writeFile('b', broken(), 5), { code: 'upload_incomplete' });
  for (let count = 0; count < 3; count += 1) {
    const { stream, body } = await fake.takeJson(frameTypes.signal);
    assert.deepEqual(body, { signal: 'kill' });
    fake.refuse(stream, 'cancelled');
  }
  assert.ok(fake.inbox.every(({ header }) => header.type !== frameTypes.data || (header.flags & dataFlags.end) === 0));
});

test('refusals become typed errors whose words are harmless', async () => {
  const { guest, fake } = await confirmedPair();
  const nextRefusal = async (code: string, message: string): Promise<void> => {
    fake.refuse((await fake.takeJson(frameTypes.open)).stream, code, message);
  };
  const stat = guest.stat('a/\u001b[31mb');
  await nextRefusal('not_found', `gone\u001b]0;evil\u0007${'x'.repeat(5000)}`);
  await assert.rejects(stat, (error) => {
    assert.ok(BulkheadError.is(error, 'file_error'));
    assert.deepEqual(error.details, { op: 'file.stat', guestCode: 'not_found', path: 'a/\u001b[31mb' });
    assert.doesNotMatch(error.message, /[^\x20-\x7e…]/);
    assert.ok(error.message.length < 600);
    return true;
  });
  for (const [guestCode, code] of [
    ['not_found', 'not_found'],
    ['busy', 'state_conflict'],
    ['limit', 'limit_exceeded'],
    ['invalid', 'invalid_request'],
    ['io', 'file_error'],
  ] as const) {
    const exec = guest.exec({ argv: ['nope'] });
    await nextRefusal(guestCode, '');
    await assert.rejects(exec.outcome, { code });
    await assert.rejects(collect(exec.output), { code });
  }
  const run = guest.run(request);
  await nextRefusal('busy', 'a turn runs');
  await assert.rejects(run.outcome, { code: 'state_conflict' });
  await assert.rejects(guest.stat('a\0b'), { code: 'invalid_request' });
  await assert.rejects(guest.startProcess({ argv: ['x'.repeat(70_000)] }), { code: 'limit_exceeded' });
});
