// One rule broken at a time: each ends the channel as a violation, rejects what was pending, and nothing else.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dataFlags, encodeFrame, encodeHeader, frameTypes } from '../../src/guest/frame.ts';
import type { Guest } from '../../src/guest/guest.ts';
import {
  type FakeGuest,
  collect,
  confirmation,
  confirmedPair,
  identity,
  pair,
  runResult,
  turnsOfTheLoop,
} from './fake-guest.ts';

const run = {
  language: 'python',
  context: 'default',
  code: Buffer.from('1'),
  maxOutputBytes: 1000,
  maxEventBytes: 100_000_000,
} as const;

interface Scene {
  readonly fake: FakeGuest;
  readonly guest: Guest;
  /** A turn's stream, a file read's, and a call's without output. */
  readonly turn: number;
  readonly read: number;
  readonly call: number;
}

const crimes: Record<string, (scene: Scene) => unknown> = {
  'unknown type': ({ fake }) => fake.raw(Buffer.from([0, 0, 0, 0, 11, 0, 0, 1, 0, 0, 0, 1])),
  'type zero': ({ fake }) => fake.raw(Buffer.alloc(12)),
  'a frame of the host': ({ fake }) => fake.send(frameTypes.ping, 0, Buffer.alloc(8)),
  'too long': ({ fake, turn }) => fake.raw(encodeHeader(65_537, frameTypes.data, 1, 1, turn)),
  'an old epoch': ({ fake, turn }) => fake.raw(encodeFrame(frameTypes.data, 1, 0, turn, Buffer.from('x'))),
  'a later epoch': ({ fake, turn }) => fake.raw(encodeFrame(frameTypes.data, 1, 2, turn, Buffer.from('x'))),
  'HELLO after the identity': ({ fake }) => fake.hello(),
  'CONFIRM again': ({ fake }) => fake.send(frameTypes.confirm, 0, { epoch: 1 }),
  'CONFIRM of the next epoch, not asked for': ({ fake }) => {
    fake.epoch = 2;
    fake.send(frameTypes.confirm, 0, { epoch: 2 });
  },
  'PONG without PING': ({ fake }) => fake.send(frameTypes.pong, 0, Buffer.alloc(8)),
  'PONG of another PING': ({ fake, guest }) => {
    guest.ping().catch(() => {});
    fake.send(frameTypes.pong, 0, Buffer.alloc(8));
  },
  'PONG twice': async ({ fake, guest }) => {
    const pinged = guest.ping();
    guest.ping().catch(() => {});
    const { payload } = await fake.take(frameTypes.ping);
    fake.send(frameTypes.pong, 0, payload);
    fake.send(frameTypes.pong, 0, payload);
    await pinged;
  },
  'DATA on an unknown stream': ({ fake }) => fake.data(99, 1, 'x'),
  'DATA on an even stream': ({ fake }) => fake.data(2, 1, 'x'),
  'DATA on a lane the operation has not': ({ fake, read }) => fake.data(read, 2, 'x'),
  'DATA of a call without output': ({ fake, call }) => fake.data(call, 1, 'x'),
  'DATA after END': ({ fake, turn }) => {
    fake.data(turn, 1, 'x', dataFlags.end);
    fake.data(turn, 1, 'y');
  },
  'END twice': ({ fake, turn }) => {
    fake.data(turn, 1, '', dataFlags.end);
    fake.data(turn, 1, '', dataFlags.end);
  },
  'DATA after CLOSE': ({ fake, turn }) => {
    fake.close(turn, runResult);
    fake.data(turn, 1, 'x');
  },
  'CLOSE twice': ({ fake, turn }) => {
    fake.close(turn, runResult);
    fake.close(turn, runResult);
  },
  'CLOSE of an unknown stream': ({ fake }) => fake.close(99, {}),
  'CREDIT after CLOSE': ({ fake, turn }) => {
    fake.close(turn, runResult);
    fake.credit(turn, 1);
  },
  'DATA beyond the credit': ({ fake, read }) => {
    for (let count = 0; count < 4; count += 1) fake.data(read, 1, Buffer.alloc(65_536));
    fake.data(read, 1, 'x');
    fake.data(read, 1, Buffer.alloc(65_536));
    for (let count = 0; count < 4; count += 1) fake.data(read, 1, Buffer.alloc(65_536));
  },
  'far more output than was allowed': async ({ fake, guest, turn }) => {
    for (let count = 0; count < 18; count += 1) {
      fake.data(turn, 1, Buffer.alloc(65_536));
      await turnsOfTheLoop();
    }
    assert.match((await guest.ended).detail, /far more output/);
  },
  'credit above the limit': ({ fake, turn }) => fake.credit(turn, 16_777_216),
  'credit of the largest number': ({ fake, turn }) => fake.credit(turn, 0xffff_ffff),
  'no credit at all': ({ fake, turn }) => fake.credit(turn, 0),
  'a flood of small credits': ({ fake, turn }) => {
    for (let count = 0; count < 300; count += 1) fake.credit(turn, 1);
  },
  'CLOSE that is not JSON': ({ fake, turn }) => fake.send(frameTypes.close, turn, Buffer.from('{"ok":tru')),
  'CLOSE that is not UTF-8': ({ fake, turn }) => fake.send(frameTypes.close, turn, Buffer.from([0x22, 0xff, 0x22])),
  'CLOSE that is too deep': ({ fake, turn }) =>
    fake.send(frameTypes.close, turn, Buffer.from(`${'['.repeat(30_000)}${']'.repeat(30_000)}`)),
  'CLOSE without an outcome': ({ fake, turn }) => fake.send(frameTypes.close, turn, {}),
  'CLOSE with an unknown code': ({ fake, turn }) => fake.refuse(turn, '\u001b[2J'),
  'a result of another shape': ({ fake, turn }) => fake.close(turn, { ...runResult, fate: 'gone' }),
  'a number that is none': ({ fake, turn }) => fake.close(turn, { ...runResult, exitCode: 1e300 }),
  'time that runs back': ({ fake, turn }) => fake.close(turn, { ...runResult, elapsedNs: '-1' }),
  'CLOSE within a message': ({ fake, turn }) => {
    fake.data(turn, 3, '{"type"', dataFlags.more);
    fake.close(turn, runResult);
  },
  'CLOSE of a read that has not ended': ({ fake, read }) => {
    fake.data(read, 1, 'abc');
    fake.close(read, { size: 3 });
  },
  'a read of another size': ({ fake, read }) => {
    fake.data(read, 1, 'abc', dataFlags.end);
    fake.close(read, { size: 4 });
  },
  'a message that is not JSON': ({ fake, turn }) => fake.data(turn, 3, 'hello'),
  'a message of an unknown type': ({ fake, turn }) => fake.message(turn, { type: 'spy' }),
  'a bundle with a bad type': ({ fake, turn }) => fake.message(turn, { type: 'result', data: { x: 1 } }),
  'a bundle with too many types': ({ fake, turn }) =>
    fake.message(turn, {
      type: 'result',
      data: Object.fromEntries(Array.from({ length: 40 }, (_, n) => [`a/b${n}`, 1])),
    }),
};

for (const [name, commit] of Object.entries(crimes)) {
  test(`violation: ${name}`, async () => {
    const { guest, fake } = await confirmedPair();
    const turn = guest.run(run);
    const events = collect(turn.events);
    const read = collect(guest.readFile('f'));
    const call = guest.info();
    const bystander = guest.stat('x');
    const pending = Promise.allSettled([events, read, call]);
    const streams: Awaited<ReturnType<FakeGuest['takeJson']>>[] = [];
    for (let count = 0; count < 4; count += 1) streams.push(await fake.takeJson(frameTypes.open));
    const find = (op: string): number => streams.find(({ body }) => body['op'] === op)?.stream ?? 0;
    const rejected = assert.rejects(bystander, { code: 'guest_protocol_violation' });
    await commit({ fake, guest, turn: find('run'), read: find('file.read'), call: find('info') });
    const { reason, detail } = await guest.ended;
    assert.equal(reason, 'protocol_violation', detail);
    assert.match(detail, /^[\w .,:-]{5,120}$/);
    assert.ok(fake.stream.destroyed || fake.stream.readableEnded || (await closes(fake)));
    await rejected;
    for (const settled of await pending) {
      if (settled.status === 'rejected') assert.equal(settled.reason.code, 'guest_protocol_violation');
    }
    await assert.rejects(guest.ping(), { code: 'guest_protocol_violation' });
  });
}

async function closes(fake: FakeGuest): Promise<boolean> {
  await new Promise((resolve) => fake.stream.once('end', resolve).once('close', resolve));
  return true;
}

test('an identity is not taken from a guest that cannot prove it', async () => {
  for (const change of [
    { proof: Buffer.alloc(32).toString('base64') },
    { proof: '' },
    { proof: 5 },
    { epoch: 2 },
    { bootId: '../../etc' },
    { unixTimeNs: 'now' },
  ]) {
    const { guest, fake } = pair();
    const confirmed = assert.rejects(guest.identify(identity), { code: 'guest_protocol_violation' });
    await fake.confirm(change);
    await confirmed;
  }
});

test('what comes out of turn before the identity is a violation', async () => {
  const acts: Record<string, (fake: FakeGuest) => void> = {
    'HELLO twice': (fake) => {
      fake.hello();
      fake.hello();
    },
    'HELLO of another version': (fake) => fake.send(frameTypes.hello, 0, { version: 2, agent: 'x', contexts: [] }),
    'CONFIRM at once': (fake) => {
      fake.epoch = 1;
      fake.send(frameTypes.confirm, 0, confirmation({ epoch: 1, key: '', challenge: '' }));
    },
    DATA: (fake) => fake.data(1, 1, 'x'),
    'a message too long to be': (fake) => fake.raw(Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n')),
  };
  for (const [name, act] of Object.entries(acts)) {
    const { guest, fake } = pair();
    act(fake);
    assert.equal((await guest.ended).reason, 'protocol_violation', name);
    await assert.rejects(guest.identify(identity), { code: 'guest_protocol_violation' });
  }
});

test('what was captured before a new identity cannot be replayed after it', async () => {
  const { guest, fake } = await confirmedPair();
  const pinged = guest.ping();
  const captured = await fake.take(frameTypes.ping);
  const pong = encodeFrame(frameTypes.pong, 0, 1, 0, captured.payload);
  fake.raw(pong);
  await pinged;
  await Promise.all([guest.identify({ ...identity, epoch: 2 }), fake.confirm()]);
  guest.ping().catch(() => {});
  fake.raw(pong);
  assert.match((await guest.ended).detail, /epoch 1 in epoch 2/);
});

test('a message of more than the limit is a violation however it comes', async () => {
  const { guest, fake } = await confirmedPair();
  const turn = guest.run(run);
  const { stream } = await fake.takeJson(frameTypes.open);
  const events = collect(turn.events).catch((error: { code: string }) => error.code);
  let credit = 262_144;
  fake.onFrame = ({ header, payload }) => {
    if (header.type === frameTypes.credit) credit += payload.readUInt32BE();
    return true;
  };
  const ended = new AbortController();
  void guest.ended.then(() => ended.abort());
  let sent = 0;
  while (!ended.signal.aborted) {
    if (credit >= 65_536) {
      fake.data(stream, 3, Buffer.alloc(65_536, ' '), dataFlags.more);
      credit -= 65_536;
      sent += 65_536;
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.ok(sent <= 8_388_608 + 262_144);
  assert.equal((await guest.ended).detail, 'a message is too long');
  assert.equal(await events, 'guest_protocol_violation');
});
