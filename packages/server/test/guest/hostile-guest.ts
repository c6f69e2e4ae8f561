// A hostile agent, as a process of its own: each connection names a seed, and gets the session of that seed, spoiled.
// `node hostile-guest.ts SOCKET`. The plan of a seed is the same on both sides.

import { type Socket, createServer } from 'node:net';
import { pathToFileURL } from 'node:url';
import { type FrameType, dataFlags, encodeFrame, frameTypes } from '../../src/guest/frame.ts';
import { FakeGuest, confirmation, runResult, turnsOfTheLoop } from './fake-guest.ts';

export type Random = (below: number) => number;

/** mulberry32: small, and the same everywhere. */
function randomFrom(seed: number): Random {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296) * below);
  };
}

// Streams in the order in which `hostSide` opens them.
const [turn, read, call, upload, connection] = [1, 3, 5, 7, 9] as const;

function json(type: FrameType, stream: number, body: object): Buffer {
  return encodeFrame(type, 0, 1, stream, Buffer.from(JSON.stringify(body)));
}
function data(stream: number, flags: number, content: string | Buffer): Buffer {
  return encodeFrame(frameTypes.data, flags, 1, stream, Buffer.from(content));
}
function credit(stream: number, bytes: number): Buffer {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(bytes);
  return encodeFrame(frameTypes.credit, 0, 1, stream, payload);
}

function close(stream: number, result: object): Buffer {
  return json(frameTypes.close, stream, { ok: true, result });
}

/** All that an honest guest says after its identity, in an order that it could have. */
function honestSession(random: Random): Buffer[] {
  const lists = [
    [
      data(turn, 1, 'out'.repeat(1 + random(2000))),
      data(turn, 2, 'err'),
      data(turn, 3, JSON.stringify({ type: 'result', data: { 'text/plain': '42' } })),
      data(turn, 3 | dataFlags.more, '{"type":"exception","name":"E","value":"v",'),
      data(turn, 3, '"traceback":"t","frames":[{"file":"f","line":1,"name":"n"}]}'),
      close(turn, runResult),
    ],
    [data(read, 1, Buffer.alloc(20_000, 'r')), data(read, 1 | dataFlags.end, 'end'), close(read, { size: 20_003 })],
    [close(call, { memoryFreeBytes: 1, scratchFreeBytes: 2, processes: 3 })],
    [credit(upload, 5000), close(upload, { size: 5000 })],
    [
      data(connection, 3, JSON.stringify({ type: 'connected' })),
      data(connection, 1, 'c'.repeat(1 + random(2000))),
      data(connection, 1 | dataFlags.end, 'end'),
      close(connection, {}),
    ],
  ];
  const session: Buffer[] = [];
  while (lists.some((list) => list.length > 0)) {
    const next = lists[random(lists.length)]?.shift();
    if (next !== undefined) session.push(next);
  }
  return session;
}

const numbers = [
  0, 1, 2, 3, 4, 7, 8, 9, 64, 65, 128, 255, 256, 65_535, 65_536, 65_537, 16_777_216, 0x7fff_ffff, 0xffff_ffff,
];

type Mutation = (session: Buffer[], at: number, random: Random) => void;
const mutations: Record<string, Mutation> = {
  flip(session, at, random) {
    const frame = Buffer.from(session[at] ?? Buffer.alloc(1));
    const index = random(2) === 0 ? random(Math.min(12, frame.length)) : random(frame.length);
    frame[index] = (frame[index] ?? 0) ^ (1 << random(8));
    session[at] = frame;
  },
  cut(session, at, random) {
    const frame = session[at] ?? Buffer.alloc(1);
    session[at] = frame.subarray(0, random(frame.length));
  },
  repeat(session, at) {
    session.splice(at, 0, session[at] ?? Buffer.alloc(0));
  },
  drop(session, at) {
    session.splice(at, 1);
  },
  reorder(session, at, random) {
    const [frame] = session.splice(at, 1);
    session.splice(random(session.length + 1), 0, frame ?? Buffer.alloc(0));
  },
  header(session, at, random) {
    const frame = Buffer.from(session[at] ?? Buffer.alloc(12));
    if (frame.length < 12) return;
    const value = numbers[random(numbers.length)] ?? 0;
    const field = random(5);
    if (field === 0) frame.writeUInt32BE(value, 0);
    else if (field === 1) frame.writeUInt8(value & 0xff, 4);
    else if (field === 2) frame.writeUInt8(value & 0xff, 5);
    else if (field === 3) frame.writeUInt16BE(value & 0xffff, 6);
    else frame.writeUInt32BE(value, 8);
    session[at] = frame;
  },
  credit(session, at, random) {
    session.splice(
      at,
      0,
      credit([turn, read, call, upload, connection][random(5)] ?? 1, numbers[random(numbers.length)] ?? 0),
    );
  },
  creditFlood(session, at, random) {
    session.splice(at, 0, Buffer.concat(Array.from({ length: random(1000) }, () => credit(turn, 1 + random(3)))));
  },
  byteFlood(session, at, random) {
    const frames = Array.from({ length: random(2000) }, (_, n) => data(turn, 1 + (n & 1), 'x'));
    session.splice(at, 0, Buffer.concat(frames));
  },
  dataFlood(session, at, random) {
    const stream = [read, connection][random(2)] ?? read;
    const frames = Array.from({ length: random(8) }, () => data(stream, 1, Buffer.alloc(65_536)));
    session.splice(at, 0, Buffer.concat(frames));
  },
  messageFlood(session, at, random) {
    const message = data(turn, 3, JSON.stringify({ type: 'display', data: { 'text/plain': '' } }));
    session.splice(at, 0, Buffer.concat(Array.from({ length: random(1000) }, () => message)));
  },
  connectedFlood(session, at, random) {
    const message = data(connection, 3, JSON.stringify({ type: 'connected' }));
    session.splice(at, 0, Buffer.concat(Array.from({ length: random(1000) }, () => message)));
  },
  longMessage(session, at, random) {
    const frames = Array.from({ length: random(6) }, () => data(turn, 3 | dataFlags.more, Buffer.alloc(60_000, '[')));
    session.splice(at, 0, Buffer.concat(frames));
  },
  pong(session, at) {
    session.splice(at, 0, encodeFrame(frameTypes.pong, 0, 1, 0, Buffer.alloc(8)));
  },
  identityAgain(session, at, random) {
    const body = confirmation({ epoch: 1, key: '', challenge: '' });
    session.splice(at, 0, json(random(2) === 0 ? frameTypes.confirm : frameTypes.hello, 0, body));
  },
  hostFrame(session, at, random) {
    session.splice(at, 0, json(([2, 4, 7, 9] as const)[random(4)] ?? 2, random(2), { op: 'run', signal: 'kill' }));
  },
  json(session, at, random) {
    const texts = [
      '',
      '{',
      '[]',
      'null',
      '{"ok":true}',
      '{"ok":false,"error":{}}',
      '{"__proto__":{"ok":true}}',
      '"\ud800"',
    ];
    const text = random(6) === 0 ? '['.repeat(60_000) : (texts[random(texts.length)] ?? '');
    session.splice(at, 0, encodeFrame(frameTypes.close, 0, 1, 1 + 2 * random(5), Buffer.from(text)));
  },
  noise(session, at, random) {
    session.splice(at, 0, Buffer.from(Array.from({ length: random(300) }, () => random(256))));
  },
  silence(session, at) {
    session.splice(at);
  },
};
const mutationNames = Object.keys(mutations);

/** What both sides of a case know. */
export interface Plan {
  readonly seed: number;
  readonly mutations: readonly string[];
  readonly badProof: boolean;
  readonly delivery: 'at once' | 'frames' | 'drip' | 'glued';
  readonly hangUp: boolean;
  readonly answersPings: boolean;
  readonly reader: 'all' | 'leaves' | 'none';
  readonly cancels: boolean;
}

export function makePlan(seed: number): Plan {
  const random = randomFrom(seed);
  const pick = <T>(choices: readonly [T, ...T[]]): T => choices[random(choices.length)] ?? choices[0];
  const names: string[] = [];
  for (let count = random(8) === 0 ? 0 : 1 + random(3); count > 0; count -= 1) {
    names.push(mutationNames[random(mutationNames.length)] ?? 'flip');
  }
  return {
    seed,
    mutations: names,
    badProof: random(50) === 0,
    delivery: pick(['at once', 'frames', 'glued', 'drip']),
    hangUp: random(20) === 0,
    answersPings: names.length === 0 || random(2) === 0,
    reader: pick(['all', 'all', 'leaves', 'none']),
    cancels: random(10) === 0,
  };
}

function makeSession(plan: Plan): Buffer[] {
  const random = randomFrom(plan.seed ^ 0x5eed);
  const session = honestSession(random);
  for (const name of plan.mutations) {
    if (session.length > 0) mutations[name]?.(session, random(session.length), random);
  }
  if (plan.hangUp) {
    session.splice(random(session.length + 1));
    session.push(Buffer.from(session[0] ?? Buffer.alloc(1)).subarray(0, 5));
  }
  return session;
}

async function deliver(fake: FakeGuest, plan: Plan): Promise<void> {
  const session = makeSession(plan);
  const all = Buffer.concat(session);
  if (plan.delivery === 'at once') fake.raw(all);
  else if (plan.delivery === 'frames') {
    for (const frame of session) {
      fake.raw(frame);
      await turnsOfTheLoop(1);
    }
  } else {
    const step = plan.delivery === 'drip' && all.length < 3000 ? 7 : 5001;
    for (let offset = 0; offset < all.length && !fake.stream.destroyed; offset += step) {
      fake.raw(all.subarray(offset, offset + step));
      await turnsOfTheLoop(1);
    }
  }
  if (plan.hangUp) fake.stream.end();
}

/** The guest's side of one case. */
async function serve(socket: Socket): Promise<void> {
  const seed = await new Promise<number>((resolve) => {
    socket.once('readable', () => {
      const bytes: Buffer = socket.read(4);
      resolve(bytes.readUInt32BE());
    });
  });
  const plan = makePlan(seed);
  const fake = new FakeGuest(socket);
  await fake.confirm(plan.badProof ? { proof: Buffer.alloc(32, 1).toString('base64') } : {});
  for (let count = 0; count < 5; count += 1) await fake.take(frameTypes.open);
  const pings = fake.inbox.splice(0);
  const delivered = deliver(fake, plan);
  fake.onFrame = ({ header, payload }) => {
    if (header.type === frameTypes.ping && plan.answersPings) {
      void delivered.then(() => fake.send(frameTypes.pong, 0, payload));
    }
    return true;
  };
  for (const frame of pings) fake.onFrame(frame);
  await delivered;
}

const [, script, socketPath] = process.argv;
if (script !== undefined && import.meta.url === pathToFileURL(script).href) {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    // The host hangs up on most of these sessions before they are through.
    serve(socket).catch(() => socket.destroy());
  });
  server.listen(socketPath, () => process.stdout.write('listening\n'));
  process.stdin.on('end', () => process.exit(0)).resume();
}
