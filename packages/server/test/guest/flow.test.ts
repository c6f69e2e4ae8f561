// Credit both ways, cancellation, deadlines and the ends of a channel.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { dataFlags, frameTypes } from '../../src/guest/frame.ts';
import { chunks, collect, confirmedPair, identity, pair, runResult, turnsOfTheLoop, until } from './fake-guest.ts';

const window = 262_144;
const run = {
  language: 'python',
  context: 'default',
  code: Buffer.from(''),
  maxOutputBytes: 100_000_000,
  maxEventBytes: 100_000_000,
} as const;

test('the host sends no more than its credit', async () => {
  const { guest, fake } = await confirmedPair();
  const content = Buffer.alloc(1_000_000, 'abcdefgh');
  const written = guest.writeFile('f', chunks(content), content.length);
  const { stream } = await fake.takeJson(frameTypes.open);
  const received: Buffer[] = [];
  const length = (): number => received.reduce((sum, piece) => sum + piece.length, 0);
  let ended = false;
  fake.onFrame = ({ header, payload }) => {
    if (header.type !== frameTypes.data) return false;
    received.push(payload);
    ended = (header.flags & dataFlags.end) !== 0;
    return true;
  };
  for (const frame of fake.inbox.splice(0)) fake.onFrame(frame);
  await until(() => length() === window, 'the window is used');
  await turnsOfTheLoop(20);
  assert.equal(length(), window);
  fake.credit(stream, 100);
  await until(() => length() === window + 100, 'the credit is used');
  fake.credit(stream, 10_000_000);
  await until(() => ended, 'the end');
  fake.close(stream, { size: content.length });
  await written;
  assert.ok(Buffer.concat(received).equals(content));
});

test('the guest is held while nobody reads, and goes on when somebody does', async () => {
  const { guest, fake } = await confirmedPair();
  const turn = guest.run(run);
  const { stream } = await fake.takeJson(frameTypes.open);
  for (let sent = 0; sent < window; sent += 65_536) fake.data(stream, 1, Buffer.alloc(65_536, 'x'));
  await turnsOfTheLoop(20);
  assert.equal(fake.inbox.filter(({ header }) => header.type === frameTypes.credit).length, 0);
  const iterator = turn.events[Symbol.asyncIterator]();
  let read = 0;
  while (read < window) {
    const next = await iterator.next();
    assert.ok(next.done !== true && 'bytes' in next.value);
    read += next.value.bytes.length;
  }
  let credited = 0;
  while (credited < window) credited += (await fake.take(frameTypes.credit)).payload.readUInt32BE();
  assert.equal(credited, window);
  fake.close(stream, runResult);
  assert.equal((await iterator.next()).done, true);
});

test('a long message gets the credit it needs, one stream at a time', async () => {
  const { guest, fake } = await confirmedPair();
  const turns = [guest.run(run), guest.run(run)];
  const streams = [(await fake.takeJson(frameTypes.open)).stream, (await fake.takeJson(frameTypes.open)).stream];
  const [first = 0, second = 0] = streams;
  const credit = new Map(streams.map((stream) => [stream, window]));
  fake.onFrame = ({ header, payload }) => {
    if (header.type !== frameTypes.credit) return false;
    credit.set(header.stream, (credit.get(header.stream) ?? 0) + payload.readUInt32BE());
    return true;
  };
  const text = Buffer.from(JSON.stringify({ type: 'result', data: { 'text/plain': 'y'.repeat(4_000_000) } }));
  const sent = new Map(streams.map((stream) => [stream, 0]));
  const sendWhatFits = (stream: number): void => {
    let offset = sent.get(stream) ?? 0;
    let left = credit.get(stream) ?? 0;
    while (left > 0 && offset < text.length) {
      const piece = text.subarray(offset, offset + Math.min(65_536, left));
      offset += piece.length;
      left -= piece.length;
      fake.data(stream, 3, piece, offset < text.length ? dataFlags.more : 0);
    }
    sent.set(stream, offset);
    credit.set(stream, left);
  };
  sendWhatFits(first);
  await until(() => (credit.get(first) ?? 0) > 0, 'credit for the first');
  sendWhatFits(second);
  await until(() => {
    sendWhatFits(first);
    sendWhatFits(second);
    return sent.get(first) === text.length;
  }, 'the first message is whole');
  await turnsOfTheLoop(20);
  sendWhatFits(second);
  assert.ok((sent.get(second) ?? 0) <= window, 'the second waits while the first is not consumed');
  const sizes: number[] = [];
  for (const turn of turns) {
    const iterator = turn.events[Symbol.asyncIterator]();
    const next = iterator.next();
    await until(() => {
      sendWhatFits(second);
      return sent.get(second) === text.length || turn === turns[0];
    }, 'the second message is whole');
    const { value } = await next;
    if (value !== undefined && 'sizeBytes' in value) sizes.push(value.sizeBytes);
  }
  assert.deepEqual(sizes, [text.length, text.length]);
});

test('leaving the events early lets the turn come to its end', async () => {
  const { guest, fake } = await confirmedPair();
  const turn = guest.run(run);
  const { stream } = await fake.takeJson(frameTypes.open);
  fake.data(stream, 1, 'first');
  for await (const event of turn.events) {
    assert.equal(event.type, 'stdout');
    break;
  }
  let credit = window - 5;
  for (let sent = 0; sent < 3_000_000; sent += 65_536) {
    while (credit < 65_536) credit += (await fake.take(frameTypes.credit)).payload.readUInt32BE();
    fake.data(stream, 3, Buffer.alloc(65_536, ' '));
    credit -= 65_536;
  }
  fake.close(stream, runResult);
  assert.equal((await turn.outcome).status, 'ok');
  assert.throws(() => turn.events[Symbol.asyncIterator](), { code: 'state_conflict' });
});

test('leaving a download early kills it, and its stream is free after CLOSE', async () => {
  const { guest, fake } = await confirmedPair({ cancelTimeoutMs: 1000 });
  for (let round = 0; round < 100; round += 1) {
    const left = (async () => {
      for await (const bytes of guest.readFile('big')) {
        assert.equal(bytes.length, 3);
        break;
      }
    })();
    const { stream } = await fake.takeJson(frameTypes.open);
    fake.data(stream, 1, 'abc');
    await left;
    assert.deepEqual(await fake.takeJson(frameTypes.signal), { stream, body: { signal: 'kill' } });
    fake.data(stream, 1, 'still on its way');
    fake.refuse(stream, 'cancelled');
    await turnsOfTheLoop(1);
  }
});

test('a signal cancels every kind of call at once', async () => {
  const { guest, fake } = await confirmedPair();
  const abort = new AbortController();
  const { signal } = abort;
  const never = new ReadableStream<Uint8Array>();
  const calls = [
    guest.stat('a', { signal }),
    guest.listFiles('a', { signal }),
    guest.settle({ signal }),
    guest.ping({ signal }),
    guest.startProcess({ argv: ['a'] }, { signal }),
    guest.writeFile('a', never, 10, { signal }),
    collect(guest.readFile('a', { signal })),
  ];
  const rejections = Promise.all(calls.map((call) => assert.rejects(call, { code: 'cancelled' })));
  await until(() => fake.inbox.filter(({ header }) => header.type === frameTypes.open).length === 6, 'all are open');
  abort.abort();
  await rejections;
  for (let count = 0; count < 6; count += 1) {
    const { stream, body } = await fake.takeJson(frameTypes.signal);
    assert.deepEqual(body, { signal: 'kill' });
    fake.refuse(stream, 'cancelled');
  }
  // A late PONG is not a violation, and what is cancelled already is not begun.
  fake.send(frameTypes.pong, 0, (await fake.take(frameTypes.ping)).payload);
  await turnsOfTheLoop();
  fake.inbox.splice(0);
  await assert.rejects(guest.stat('a', { signal }), { code: 'cancelled' });
  await assert.rejects(collect(guest.readFile('a', { signal })), { code: 'cancelled' });
  assert.equal(fake.inbox.length, 0);
  assert.deepEqual(await Promise.race([guest.ended, Promise.resolve('alive')]), 'alive');
});

test('a guest that does not answer is unresponsive', async () => {
  const deadlines = {
    controlTimeoutMs: 20,
    slowTimeoutMs: 20,
    identifyTimeoutMs: 20,
    pingTimeoutMs: 20,
    stallTimeoutMs: 20,
    cancelTimeoutMs: 20,
  };
  const silent = pair(deadlines);
  await assert.rejects(silent.guest.identify(identity), { code: 'guest_unresponsive' });
  assert.equal((await silent.guest.ended).reason, 'unresponsive');
  const acts: ((guest: Awaited<ReturnType<typeof confirmedPair>>['guest']) => Promise<unknown>)[] = [
    (guest) => guest.ping(),
    (guest) => guest.info(),
    (guest) => guest.settle(),
    (guest) => guest.listFiles('.'),
    (guest) => collect(guest.readFile('a')),
    (guest) => guest.writeFile('a', chunks('abc'), 3),
    (guest) => guest.writeFile('a', chunks(Buffer.alloc(1_000_000)), 1_000_000),
  ];
  for (const act of acts) {
    const { guest } = await confirmedPair(deadlines);
    await assert.rejects(act(guest), { code: 'guest_unresponsive' });
    assert.equal((await guest.ended).reason, 'unresponsive');
  }
  const { guest } = await confirmedPair(deadlines);
  const abort = new AbortController();
  const call = collect(guest.readFile('a', { signal: abort.signal }));
  await turnsOfTheLoop();
  abort.abort();
  await assert.rejects(call, { code: 'cancelled' });
  assert.match((await guest.ended).detail, /did not end when it was killed/);
});

test('the end of the stream is the end of every call, and what came before is still read', async () => {
  const { guest, fake } = await confirmedPair();
  const turn = guest.run(run);
  const { stream } = await fake.takeJson(frameTypes.open);
  const call = guest.info();
  fake.data(stream, 1, 'last words');
  fake.stream.end();
  await assert.rejects(call, { code: 'machine_lost' });
  const iterator = turn.events[Symbol.asyncIterator]();
  const { value } = await iterator.next();
  assert.ok(value !== undefined && 'bytes' in value && Buffer.from(value.bytes).toString() === 'last words');
  await assert.rejects(iterator.next(), { code: 'machine_lost' });
  await assert.rejects(turn.outcome, { code: 'machine_lost' });
  assert.deepEqual(await guest.ended, { reason: 'ended', detail: 'the stream ended' });
  await assert.rejects(guest.run(run).outcome, { code: 'machine_lost' });
  await guest[Symbol.asyncDispose]();
});

test('streams and pings are limited', async () => {
  const { guest } = await confirmedPair();
  const calls = Array.from({ length: 64 }, () => guest.info());
  for (const call of calls) call.catch(() => {});
  await assert.rejects(guest.info(), { code: 'limit_exceeded' });
  const pings = Array.from({ length: 64 }, () => guest.ping());
  for (const ping of pings) ping.catch(() => {});
  await assert.rejects(guest.ping(), { code: 'limit_exceeded' });
  await guest[Symbol.asyncDispose]();
  await assert.rejects(calls[0] ?? Promise.resolve(), { code: 'session_ended' });
});

test('a large download arrives whole', async () => {
  const { guest, fake } = await confirmedPair();
  const size = 20_000_000;
  const content = Buffer.alloc(size, 'the quick brown fox ');
  const hash = createHash('sha256');
  const download = (async () => {
    for await (const bytes of guest.readFile('f')) hash.update(bytes);
  })();
  const { stream } = await fake.takeJson(frameTypes.open);
  let credit = window;
  for (let sent = 0; sent < size;) {
    while (credit === 0) credit += (await fake.take(frameTypes.credit)).payload.readUInt32BE();
    const piece = content.subarray(sent, sent + Math.min(credit, 65_536));
    sent += piece.length;
    credit -= piece.length;
    fake.data(stream, 1, piece, sent === size ? dataFlags.end : 0);
  }
  fake.close(stream, { size });
  await download;
  assert.equal(hash.digest('hex'), createHash('sha256').update(content).digest('hex'));
});
