// Connections to servers in the guest, against a guest that a test drives frame by frame.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { buffer } from 'node:stream/consumers';
import { test } from 'node:test';
import { BulkheadError, limits } from '@bulkhead/protocol';
import { dataFlags, frameTypes } from '../../src/guest/frame.ts';
import type { Guest, GuestConnection } from '../../src/guest/guest.ts';
import type { Clock } from '../../src/lib/clock.ts';
import { SteppedClock } from '../../src/runtimes/fake/stepped-clock.ts';
import { type FakeGuest, collect, confirmedPair, runResult, turnsOfTheLoop, until } from './fake-guest.ts';

const window = 262_144;
const end = dataFlags.end;

async function connected(
  clock?: Clock,
): Promise<{ guest: Guest; fake: FakeGuest; connection: GuestConnection; stream: number }> {
  const { guest, fake } = await confirmedPair(clock === undefined ? {} : { clock });
  const connecting = guest.connect(8080);
  const { stream, body } = await fake.takeJson(frameTypes.open);
  assert.deepEqual(body, { op: 'connect', port: 8080 });
  fake.message(stream, { type: 'connected' });
  return { guest, fake, stream, connection: await connecting };
}

async function errorOf(connection: GuestConnection): Promise<unknown> {
  const [error] = await once(connection, 'error', { signal: AbortSignal.timeout(5000) });
  return error;
}

test('each direction ends by itself, and the stream when both have', async () => {
  const { fake, connection, stream } = await connected();
  connection.end('question');
  const question = await fake.take(frameTypes.data);
  assert.equal(question.payload.toString(), 'question');
  if ((question.header.flags & end) === 0) assert.equal((await fake.take(frameTypes.data)).header.flags & end, end);
  fake.data(stream, 1, 'ans');
  fake.data(stream, 1, 'wer', end);
  assert.equal((await buffer(connection)).toString(), 'answer');
  fake.close(stream, {});
  if (!connection.closed) await once(connection, 'close');
  await turnsOfTheLoop();
  assert.equal(fake.inbox.filter(({ header }) => header.type === frameTypes.signal).length, 0, 'nothing was killed');
});

test('the server ends first: what the host still says reaches it', async () => {
  const { fake, connection, stream } = await connected();
  fake.data(stream, 1, '', end);
  assert.equal((await buffer(connection)).length, 0);
  connection.end('late');
  assert.equal((await fake.take(frameTypes.data)).payload.toString(), 'late');
  fake.close(stream, {});
});

test('nobody reads: the guest has its window and no more; the host sends no more than its credit', async () => {
  const { fake, connection, stream } = await connected();
  let credited = 0;
  fake.onFrame = ({ header, payload }) => {
    if (header.type !== frameTypes.credit) return false;
    credited += payload.readUInt32BE();
    return true;
  };
  for (let sent = 0; sent + 65_536 < window; sent += 65_536) fake.data(stream, 1, Buffer.alloc(65_536, 'x'));
  await turnsOfTheLoop(20);
  assert.equal(credited, 0);
  const content = Buffer.alloc(1_000_000, 'y');
  let taken = 0;
  const written = new Promise<void>((resolve) => connection.write(content, () => resolve()));
  await until(() => {
    for (const { payload } of fake.inbox.splice(0)) taken += payload.length;
    return taken === window;
  }, 'the credit is used');
  await turnsOfTheLoop(20);
  assert.equal(fake.inbox.length, 0);
  fake.credit(stream, 2_000_000);
  await written;
  connection.resume();
  await until(() => credited > 0, 'what was read is credited');
});

test('refusals and broken connections are typed; the guest\u2019s words are not believed', async () => {
  const { guest, fake } = await confirmedPair();
  const refused = assert.rejects(guest.connect(1), (error) => {
    assert.ok(BulkheadError.is(error, 'port_unreachable'));
    assert.doesNotMatch(error.message, /[^\x20-\x7e]/);
    return true;
  });
  fake.refuse((await fake.takeJson(frameTypes.open)).stream, 'refused', '\u001b[2J nobody');
  await refused;
  for (const port of [0, -1, 65_536, 1.5, Number.NaN]) {
    await assert.rejects(guest.connect(port), { code: 'invalid_request' });
  }
  const second = await connected();
  const broke = errorOf(second.connection);
  second.fake.refuse(second.stream, 'reset');
  assert.ok(BulkheadError.is(await broke, 'port_unreachable'));
});

test('giving up, before and after it is connected, closes it in the guest', async () => {
  const { guest, fake } = await confirmedPair();
  const abort = new AbortController();
  const given = assert.rejects(guest.connect(8080, { signal: abort.signal }), { code: 'cancelled' });
  const { stream } = await fake.takeJson(frameTypes.open);
  abort.abort();
  await given;
  assert.deepEqual(await fake.takeJson(frameTypes.signal), { stream, body: { signal: 'kill' } });
  fake.refuse(stream, 'cancelled');
  const second = await connected();
  second.connection.destroy();
  assert.deepEqual((await second.fake.takeJson(frameTypes.signal)).body, { signal: 'kill' });
});

test('there are so many connections and no more, and a turn has its stream all the same', async () => {
  const { guest, fake } = await confirmedPair();
  const connections: GuestConnection[] = [];
  for (let count = 0; count < limits.portConnectionsMaxCount; count += 1) {
    const connecting = guest.connect(8080);
    const { stream } = await fake.takeJson(frameTypes.open);
    fake.message(stream, { type: 'connected' });
    connections.push(await connecting);
  }
  await assert.rejects(guest.connect(8080), { code: 'too_many_connections' });
  const run = guest.run({
    language: 'python',
    context: 'c',
    code: Buffer.from('1'),
    maxOutputBytes: 1,
    maxEventBytes: 1,
  });
  const { stream } = await fake.takeJson(frameTypes.open);
  fake.close(stream, runResult);
  assert.equal((await run.outcome).status, 'ok');
  connections[0]?.destroy();
  fake.refuse((await fake.takeJson(frameTypes.signal)).stream, 'cancelled');
  const connecting = guest.connect(8080);
  fake.message((await fake.takeJson(frameTypes.open)).stream, { type: 'connected' });
  await connecting;
});

test('an open connection is no activity; bytes on it are', async () => {
  const clock = new SteppedClock();
  const { guest, fake, connection, stream } = await connected(clock);
  const before = guest.activeAtUnixMs;
  await clock.advance(5000);
  assert.equal(guest.activeAtUnixMs, before);
  // A guest that sends to nobody does not move the clock: nobody reads.
  for (let count = 0; count < 3; count += 1) fake.data(stream, 1, Buffer.alloc(65_536));
  await turnsOfTheLoop(20);
  assert.equal(guest.activeAtUnixMs, before);
  connection.write('x');
  await fake.take(frameTypes.data);
  await turnsOfTheLoop(20);
  assert.equal(guest.activeAtUnixMs, clock.unixMs());
});

test('the guest is frozen with its connections closed, and not during anything else', async () => {
  const { guest, fake, connection, stream } = await connected();
  const exec = guest.exec({ argv: ['sleep'] });
  await assert.rejects(guest.freeze(), { code: 'state_conflict' });
  assert.equal(connection.destroyed, false);
  fake.close((await fake.takeJson(frameTypes.open)).stream, { exitCode: 0, signal: null, elapsedNs: '1' });
  await exec.outcome;
  const broke = errorOf(connection);
  connection.resume();
  const frozen = guest.freeze();
  assert.deepEqual((await fake.takeJson(frameTypes.signal)).stream, stream);
  fake.refuse(stream, 'cancelled');
  const { stream: freeze, body } = await fake.takeJson(frameTypes.open);
  assert.equal(body['op'], 'freeze');
  fake.close(freeze, {});
  await frozen;
  assert.ok(BulkheadError.is(await broke, 'port_unreachable'));
});

const crimes: Record<string, (fake: FakeGuest, stream: number) => void> = {
  'data before it is connected': (fake, stream) => fake.data(stream, 1, 'x'),
  'END before it is connected': (fake, stream) => fake.data(stream, 1, '', end),
  'CLOSE before it is connected': (fake, stream) => fake.close(stream, {}),
  'another message': (fake, stream) => fake.message(stream, { type: 'disconnected' }),
  'no message but text': (fake, stream) => fake.message(stream, '[]'),
  'connected twice': (fake, stream) => {
    fake.message(stream, { type: 'connected' });
    fake.message(stream, { type: 'connected' });
  },
  stderr: (fake, stream) => fake.data(stream, 2, 'x'),
  'CLOSE without END': (fake, stream) => {
    fake.message(stream, { type: 'connected' });
    fake.data(stream, 1, 'x');
    fake.close(stream, {});
  },
  'DATA after END': (fake, stream) => {
    fake.message(stream, { type: 'connected' });
    fake.data(stream, 1, 'x', end);
    fake.data(stream, 1, 'y');
  },
  'beyond the credit': (fake, stream) => {
    fake.message(stream, { type: 'connected' });
    for (let count = 0; count < 9; count += 1) fake.data(stream, 1, Buffer.alloc(65_536));
  },
};

for (const [name, commit] of Object.entries(crimes)) {
  test(`violation of connect: ${name}`, async () => {
    const { guest, fake } = await confirmedPair();
    const used = (async () => {
      const connection = await guest.connect(8080);
      await collect(connection);
    })();
    const rejected = assert.rejects(used, { code: 'guest_protocol_violation' });
    commit(fake, (await fake.takeJson(frameTypes.open)).stream);
    assert.equal((await guest.ended).reason, 'protocol_violation');
    await rejected;
  });
}

test('a guest that does not answer, and one that does not let go, ends', async () => {
  const clock = new SteppedClock();
  const first = await confirmedPair({ clock, controlTimeoutMs: 1000 });
  const late = assert.rejects(first.guest.connect(8080), { code: 'guest_unresponsive' });
  await first.fake.take(frameTypes.open);
  await clock.advance(1000);
  await late;
  const second = await connected(clock);
  second.connection.destroy();
  await clock.advance(10_000);
  assert.equal((await second.guest.ended).reason, 'unresponsive');
});
