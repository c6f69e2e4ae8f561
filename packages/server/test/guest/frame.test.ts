import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { channelLimits } from '../../src/guest/channel-limits.ts';
import {
  FrameDecoder,
  type FrameType,
  ProtocolViolation,
  dataFlags,
  encodeFrame,
  encodeHeader,
  frameTypes,
} from '../../src/guest/frame.ts';

const seed = Number(process.env['BULKHEAD_TEST_SEED'] ?? 20_261_123);

const stream = fc.integer({ min: 1, max: 0xffff_ffff });
const epoch = fc.integer({ min: 0, max: 0xffff });
const bytes = fc.uint8Array({ minLength: 2, maxLength: 3000 });
const big = fc
  .integer({ min: 60_000, max: channelLimits.frameMaxBytes })
  .map((length) => new Uint8Array(length).fill(length & 0xff));

const frame = fc.oneof(
  fc.record({
    type: fc.constantFrom<FrameType>(frameTypes.hello, frameTypes.confirm),
    flags: fc.constant(0),
    epoch,
    stream: fc.constant(0),
    payload: bytes,
  }),
  fc.record({
    type: fc.constant<FrameType>(frameTypes.data),
    flags: fc.constantFrom(1, 2, 3, 1 | dataFlags.end, 3 | dataFlags.more),
    epoch,
    stream,
    payload: fc.oneof({ weight: 9, arbitrary: bytes }, { weight: 1, arbitrary: big }),
  }),
  fc.record({
    type: fc.constant<FrameType>(frameTypes.data),
    flags: fc.constant(2 | dataFlags.end),
    epoch,
    stream,
    payload: fc.constant(new Uint8Array()),
  }),
  fc.record({
    type: fc.constant<FrameType>(frameTypes.credit),
    flags: fc.constant(0),
    epoch,
    stream,
    payload: fc.uint8Array({ minLength: 4, maxLength: 4 }),
  }),
  fc.record({
    type: fc.constant<FrameType>(frameTypes.pong),
    flags: fc.constant(0),
    epoch,
    stream: fc.constant(0),
    payload: fc.uint8Array({ minLength: 8, maxLength: 8 }),
  }),
);

/** Decodes chunk by chunk, holding the decoder to its bound after each. */
function decode(
  input: readonly Buffer[],
): { type: FrameType; flags: number; epoch: number; stream: number; payload: string }[] {
  const decoder = new FrameDecoder('guest-to-host');
  const found = [];
  for (const chunk of input) {
    decoder.push(chunk);
    for (let next = decoder.next(); next !== undefined; next = decoder.next()) {
      const { type, flags, epoch: epochOf, stream: streamOf } = next.header;
      found.push({ type, flags, epoch: epochOf, stream: streamOf, payload: next.payload.toString('base64') });
    }
    assert.ok(!decoder.hasInput);
    assert.ok(decoder.heldBytes <= channelLimits.headerBytes + channelLimits.frameMaxBytes);
  }
  return found;
}

test('any chunking of a valid sequence decodes to the same frames', () => {
  fc.assert(
    fc.property(
      fc.array(frame, { maxLength: 12 }),
      fc.array(fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 70_000 })), { minLength: 1 }),
      (frames, sizes) => {
        const all = Buffer.concat(frames.map((f) => encodeFrame(f.type, f.flags, f.epoch, f.stream, f.payload)));
        const input: Buffer[] = [];
        for (let offset = 0, index = 0; offset < all.length; index += 1) {
          const size = sizes[index % sizes.length] ?? 1;
          input.push(all.subarray(offset, offset + size));
          offset += size;
        }
        const expected = frames.map((f) => ({ ...f, payload: Buffer.from(f.payload).toString('base64') }));
        assert.deepEqual(decode(input), expected);
      },
    ),
    { seed, numRuns: 300 },
  );
});

test('random bytes throw nothing but a violation, and are not kept', () => {
  // Bytes that look like headers get further than noise.
  const headerLike = fc
    .tuple(fc.integer({ min: 0, max: 70_000 }), fc.nat(12), fc.constantFrom(0, 1, 0x40, 0x83, 0xff), epoch, fc.nat(4))
    .map(([length, type, flags, epochOf, streamOf]) => {
      const header = encodeHeader(length, frameTypes.data, flags, epochOf, streamOf);
      header.writeUInt8(type, 4);
      return new Uint8Array(header);
    });
  let violations = 0;
  fc.assert(
    fc.property(fc.array(fc.oneof(headerLike, fc.uint8Array({ maxLength: 200 })), { maxLength: 20 }), (input) => {
      try {
        decode(input.map((chunk) => Buffer.from(chunk)));
      } catch (error) {
        assert.ok(error instanceof ProtocolViolation, String(error));
        violations += 1;
      }
    }),
    { seed, numRuns: 5000 },
  );
  assert.ok(violations > 1000, 'the generator reaches the checks');
});

test('a header is refused before a byte of its payload is kept', () => {
  const refused: [string, Buffer][] = [
    ['too long', encodeHeader(65_537, frameTypes.data, 1, 1, 1)],
    ['longest number', encodeHeader(0xffff_ffff, frameTypes.data, 1, 1, 1)],
    ['wrong way', encodeHeader(8, frameTypes.ping, 0, 1, 0)],
    ['input from the guest', encodeHeader(8, frameTypes.data, 0, 1, 1)],
    ['lane 4', encodeHeader(8, frameTypes.data, 4, 1, 1)],
    ['unknown flag', encodeHeader(8, frameTypes.data, 1 | 0x20, 1, 1)],
    ['MORE on stdout', encodeHeader(8, frameTypes.data, 1 | 0x80, 1, 1)],
    ['MORE and END', encodeHeader(8, frameTypes.data, 3 | 0xc0, 1, 1)],
    ['flags on CLOSE', encodeHeader(8, frameTypes.close, 1, 1, 1)],
    ['empty DATA', encodeHeader(0, frameTypes.data, 1, 1, 1)],
    ['DATA on the channel', encodeHeader(8, frameTypes.data, 1, 1, 0)],
    ['HELLO on a stream', encodeHeader(8, frameTypes.hello, 0, 0, 1)],
    ['short CREDIT', encodeHeader(3, frameTypes.credit, 0, 1, 1)],
    ['long PONG', encodeHeader(9, frameTypes.pong, 0, 1, 0)],
    ['empty CLOSE', encodeHeader(0, frameTypes.close, 0, 1, 1)],
  ];
  for (const [name, header] of refused) {
    const decoder = new FrameDecoder('guest-to-host');
    decoder.push(header);
    assert.throws(() => decoder.next(), ProtocolViolation, name);
    assert.equal(decoder.heldBytes, 0, name);
  }
});
