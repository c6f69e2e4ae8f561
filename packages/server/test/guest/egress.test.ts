import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { limits } from '@bulkhead/protocol';
import { dataFlags, frameTypes } from '../../src/guest/frame.ts';
import type { GuestConnection } from '../../src/guest/guest.ts';
import { type FakeGuest, confirmedPair, turnsOfTheLoop, until } from './fake-guest.ts';

async function open(): Promise<{
  readonly guest: Awaited<ReturnType<typeof confirmedPair>>['guest'];
  readonly fake: FakeGuest;
  readonly egress: number;
  readonly taken: GuestConnection[];
}> {
  const { guest, fake } = await confirmedPair();
  const taken: GuestConnection[] = [];
  guest.serveEgress((connection) => taken.push(connection));
  const { stream, body } = await fake.takeJson(frameTypes.open);
  assert.equal(body['op'], 'egress');
  return { guest, fake, egress: stream, taken };
}

/** Says that somebody has come, and joins the stream that the host opens. */
async function join(fake: FakeGuest, egress: number, connection: number): Promise<number> {
  fake.message(egress, { type: 'connect', connection });
  const { stream, body } = await fake.takeJson(frameTypes.open);
  assert.deepEqual(body, { op: 'egress.connection', connection });
  fake.message(stream, { type: 'connected' });
  return stream;
}

test('each connection that a guest announces comes out as one, and both directions work', async () => {
  const { guest, fake, egress, taken } = await open();
  assert.throws(() => guest.serveEgress(() => {}), { code: 'state_conflict' });
  const stream = await join(fake, egress, 1);
  await until(() => taken.length === 1, 'it has come out');
  const [connection] = taken;
  assert.ok(connection);
  const reading = once(connection, 'data');
  fake.data(stream, 1, 'request');
  assert.equal(String((await reading)[0]), 'request');
  connection.end('answer');
  const { payload } = await fake.take(frameTypes.data);
  assert.equal(payload.toString(), 'answer');
  fake.data(stream, 1, '', dataFlags.end);
  fake.close(stream, {});
  await until(() => taken.length === 1 && connection.writableFinished, 'it is over');
  await join(fake, egress, 2);
  await until(() => taken.length === 2, 'the next');
  await guest[Symbol.asyncDispose]();
});

test('who has gone before the host came, or for whom there is no stream, takes nobody with it', async () => {
  const { guest, fake, egress, taken } = await open();
  fake.message(egress, { type: 'connect', connection: 1 });
  const { stream } = await fake.takeJson(frameTypes.open);
  fake.refuse(stream, 'not_found');
  const { payload } = await fake.take(frameTypes.data);
  assert.deepEqual(JSON.parse(payload.toString()), { refused: 1 });
  assert.equal(taken.length, 0);
  // Every stream but this one is taken by something else.
  const others = Array.from({ length: limits.streamsMaxCount - 1 }, () =>
    guest.readFile('x')[Symbol.asyncIterator]().next(),
  );
  await turnsOfTheLoop();
  fake.message(egress, { type: 'connect', connection: 2 });
  const refusal = await fake.take(frameTypes.data);
  assert.deepEqual(JSON.parse(refusal.payload.toString()), { refused: 2 });
  await guest[Symbol.asyncDispose]();
  await Promise.allSettled(others);
});

test('what a guest may not say ends its channel', async () => {
  const wrong: readonly ((fake: FakeGuest, egress: number) => void)[] = [
    (fake, egress) => fake.message(egress, { type: 'connect', connection: 2 }),
    (fake, egress) => fake.message(egress, { type: 'connect', connection: 0 }),
    (fake, egress) => fake.message(egress, { type: 'connect' }),
    (fake, egress) => fake.message(egress, { type: 'listen', connection: 1 }),
    (fake, egress) => fake.data(egress, 1, 'bytes'),
    (fake, egress) => {
      for (let n = 1; n <= limits.egressConnectionsMaxCount + 1; n++)
        fake.message(egress, { type: 'connect', connection: n });
    },
  ];
  for (const say of wrong) {
    const { guest, fake, egress } = await open();
    say(fake, egress);
    assert.equal((await guest.ended).reason, 'protocol_violation', String(say));
  }
  const { guest, fake, egress } = await open();
  for (let n = 1; n <= limits.egressConnectionsMaxCount; n++) await join(fake, egress, n);
  await turnsOfTheLoop();
  assert.equal(
    await Promise.race([guest.ended.then(() => 'ended'), Promise.resolve('open')]),
    'open',
    'as many as may be',
  );
  await guest[Symbol.asyncDispose]();
});

test('a guest that is frozen has its way out and its connections closed first', async () => {
  const { guest, fake, egress, taken } = await open();
  const stream = await join(fake, egress, 1);
  await until(() => taken.length === 1, 'it has come out');
  const frozen = guest.freeze();
  const killed = [await fake.takeJson(frameTypes.signal), await fake.takeJson(frameTypes.signal)];
  assert.deepEqual(new Set(killed.map((each) => each.stream)), new Set([egress, stream]));
  for (const each of killed) fake.refuse(each.stream, 'cancelled');
  const { stream: last, body } = await fake.takeJson(frameTypes.open);
  assert.equal(body['op'], 'freeze');
  fake.close(last, {});
  await frozen;
  assert.ok(taken[0]?.destroyed);
  await guest[Symbol.asyncDispose]();
});
