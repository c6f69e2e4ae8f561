// The frame of docs/channel.md, written and read. The decoder holds at most one frame, and takes no byte of a payload before
// its header has passed every check.

import { channelLimits } from './channel-limits.ts';

export const frameTypes = {
  hello: 1,
  identify: 2,
  confirm: 3,
  open: 4,
  data: 5,
  close: 6,
  signal: 7,
  credit: 8,
  ping: 9,
  pong: 10,
} as const;
export type FrameType = (typeof frameTypes)[keyof typeof frameTypes];

export const lanes = { input: 0, stdout: 1, stderr: 2, events: 3 } as const;
export type Lane = (typeof lanes)[keyof typeof lanes];

export const dataFlags = { lane: 0x07, end: 0x40, more: 0x80 } as const;

/** The lane in the flags of a DATA frame that has passed the decoder. */
export function laneOf(flags: number): Lane {
  const lane = flags & dataFlags.lane;
  if (lane === 0 || lane === 1 || lane === 2 || lane === 3) return lane;
  throw new ProtocolViolation(`DATA on lane ${lane}`);
}

export type Direction = 'guest-to-host' | 'host-to-guest';

export interface FrameHeader {
  readonly length: number;
  readonly type: FrameType;
  readonly flags: number;
  readonly epoch: number;
  readonly stream: number;
}

export interface Frame {
  readonly header: FrameHeader;
  /** Belongs to the reader; may be a view of a larger buffer. */
  readonly payload: Buffer;
}

/** The other side broke a rule of the channel. The message holds nothing that it sent but numbers. */
export class ProtocolViolation extends Error {
  override readonly name = 'ProtocolViolation';
}

interface TypeRule {
  readonly direction: Direction | 'both';
  readonly stream: 'channel' | 'stream';
  readonly minBytes: number;
  readonly maxBytes: number;
}
const json = { minBytes: 2, maxBytes: channelLimits.frameMaxBytes };
const rules: Readonly<Record<FrameType, TypeRule>> = {
  [frameTypes.hello]: { direction: 'guest-to-host', stream: 'channel', ...json },
  [frameTypes.identify]: { direction: 'host-to-guest', stream: 'channel', ...json },
  [frameTypes.confirm]: { direction: 'guest-to-host', stream: 'channel', ...json },
  [frameTypes.open]: { direction: 'host-to-guest', stream: 'stream', ...json },
  [frameTypes.data]: { direction: 'both', stream: 'stream', minBytes: 0, maxBytes: channelLimits.frameMaxBytes },
  [frameTypes.close]: { direction: 'guest-to-host', stream: 'stream', ...json },
  [frameTypes.signal]: { direction: 'host-to-guest', stream: 'stream', ...json },
  [frameTypes.credit]: { direction: 'both', stream: 'stream', minBytes: 4, maxBytes: 4 },
  [frameTypes.ping]: { direction: 'host-to-guest', stream: 'channel', minBytes: 8, maxBytes: 8 },
  [frameTypes.pong]: { direction: 'guest-to-host', stream: 'channel', minBytes: 8, maxBytes: 8 },
};

function isFrameType(value: number): value is FrameType {
  return value >= frameTypes.hello && value <= frameTypes.pong;
}

/** Header and payload in one buffer. */
export function encodeFrame(
  type: FrameType,
  flags: number,
  epoch: number,
  stream: number,
  payload: Uint8Array = new Uint8Array(),
): Buffer {
  const frame = Buffer.allocUnsafe(channelLimits.headerBytes + payload.length);
  writeHeader(frame, payload.length, type, flags, epoch, stream);
  frame.set(payload, channelLimits.headerBytes);
  return frame;
}

/** A header alone, for a payload that is written after it. */
export function encodeHeader(length: number, type: FrameType, flags: number, epoch: number, stream: number): Buffer {
  const header = Buffer.allocUnsafe(channelLimits.headerBytes);
  writeHeader(header, length, type, flags, epoch, stream);
  return header;
}

function writeHeader(
  into: Buffer,
  length: number,
  type: FrameType,
  flags: number,
  epoch: number,
  stream: number,
): void {
  into.writeUInt32BE(length, 0);
  into.writeUInt8(type, 4);
  into.writeUInt8(flags, 5);
  into.writeUInt16BE(epoch, 6);
  into.writeUInt32BE(stream, 8);
}

function readHeader(bytes: Buffer, offset: number, direction: Direction): FrameHeader {
  const length = bytes.readUInt32BE(offset);
  const type = bytes.readUInt8(offset + 4);
  const flags = bytes.readUInt8(offset + 5);
  const epoch = bytes.readUInt16BE(offset + 6);
  const stream = bytes.readUInt32BE(offset + 8);
  if (!isFrameType(type)) throw new ProtocolViolation(`unknown frame type ${type}`);
  const rule = rules[type];
  if (rule.direction !== 'both' && rule.direction !== direction) {
    throw new ProtocolViolation(`frame type ${type} does not go ${direction}`);
  }
  if (length < rule.minBytes || length > rule.maxBytes) {
    throw new ProtocolViolation(`frame type ${type} with ${length} bytes`);
  }
  if ((stream === 0) !== (rule.stream === 'channel')) {
    throw new ProtocolViolation(`frame type ${type} on stream ${stream}`);
  }
  if (type === frameTypes.data) checkDataFlags(flags, length, direction);
  else if (flags !== 0) throw new ProtocolViolation(`frame type ${type} with flags ${flags}`);
  return { length, type, flags, epoch, stream };
}

function checkDataFlags(flags: number, length: number, direction: Direction): void {
  const lane = flags & dataFlags.lane;
  const end = (flags & dataFlags.end) !== 0;
  const more = (flags & dataFlags.more) !== 0;
  if ((flags & ~(dataFlags.lane | dataFlags.end | dataFlags.more)) !== 0) {
    throw new ProtocolViolation(`DATA with unknown flags ${flags}`);
  }
  if (lane > lanes.events || (lane === lanes.input) !== (direction === 'host-to-guest')) {
    throw new ProtocolViolation(`DATA on lane ${lane}`);
  }
  if (more && (end || lane !== lanes.events)) throw new ProtocolViolation(`DATA with MORE on lane ${lane}`);
  if (length === 0 && !end) throw new ProtocolViolation('empty DATA without END');
}

const nothing = Buffer.alloc(0);

/** Cuts a byte stream into frames. Push one chunk, then call `next` until it has no more; both throw nothing but `ProtocolViolation`. */
export class FrameDecoder {
  readonly #direction: Direction;
  readonly #check: (header: FrameHeader) => void;
  readonly #partialHeader = Buffer.alloc(channelLimits.headerBytes);
  #chunk: Buffer = nothing;
  #offset = 0;
  #headerFilled = 0;
  #header: FrameHeader | undefined;
  #payload: Buffer | undefined;
  #payloadFilled = 0;

  /** `check` sees each header before any byte of its payload is kept, and throws a `ProtocolViolation` to refuse it. */
  constructor(direction: Direction, check: (header: FrameHeader) => void = () => {}) {
    this.#direction = direction;
    this.#check = check;
  }

  /** Bytes that the decoder holds beside the chunk that was pushed. */
  get heldBytes(): number {
    return this.#headerFilled + (this.#payload?.length ?? 0);
  }

  /** Whether a frame has begun and not ended. */
  get inFrame(): boolean {
    return this.#headerFilled > 0 || this.#header !== undefined;
  }

  /** Whether the pushed chunk has bytes that `next` has not seen. */
  get hasInput(): boolean {
    return this.#offset < this.#chunk.length;
  }

  /** Only when `hasInput` is false. */
  push(chunk: Buffer): void {
    if (this.hasInput) throw new Error('the chunk before has not been read to its end');
    this.#chunk = chunk;
    this.#offset = 0;
  }

  /** The next whole frame, or undefined when more input is needed. */
  next(): Frame | undefined {
    this.#header ??= this.#takeHeader();
    if (this.#header === undefined) return undefined;
    const payload = this.#takePayload(this.#header.length);
    if (payload === undefined) return undefined;
    const header = this.#header;
    this.#header = undefined;
    if (!this.hasInput) this.#chunk = nothing;
    if (this.#chunk === nothing) this.#offset = 0;
    return { header, payload };
  }

  #takeHeader(): FrameHeader | undefined {
    const size = channelLimits.headerBytes;
    let header: FrameHeader;
    if (this.#headerFilled === 0 && this.#chunk.length - this.#offset >= size) {
      header = readHeader(this.#chunk, this.#offset, this.#direction);
      this.#offset += size;
    } else {
      const copied = this.#chunk.copy(this.#partialHeader, this.#headerFilled, this.#offset);
      this.#offset += copied;
      this.#headerFilled += copied;
      if (this.#headerFilled < size) return undefined;
      header = readHeader(this.#partialHeader, 0, this.#direction);
      this.#headerFilled = 0;
    }
    this.#check(header);
    return header;
  }

  #takePayload(length: number): Buffer | undefined {
    if (this.#payload === undefined && this.#chunk.length - this.#offset >= length) {
      const payload = this.#chunk.subarray(this.#offset, this.#offset + length);
      this.#offset += length;
      return payload;
    }
    this.#payload ??= Buffer.allocUnsafeSlow(length);
    const end = Math.min(this.#chunk.length, this.#offset + length - this.#payloadFilled);
    const copied = this.#chunk.copy(this.#payload, this.#payloadFilled, this.#offset, end);
    this.#offset += copied;
    this.#payloadFilled += copied;
    if (this.#payloadFilled < length) return undefined;
    const payload = this.#payload;
    this.#payload = undefined;
    this.#payloadFilled = 0;
    return payload;
  }
}
