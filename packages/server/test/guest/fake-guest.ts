// The guest's end of a channel, driven by a test frame by frame.

import { createHmac } from 'node:crypto';
import { type Duplex, duplexPair } from 'node:stream';
import { type GuestOptions, openGuest } from '../../src/guest/channel.ts';
import { type Frame, FrameDecoder, type FrameType, dataFlags, encodeFrame, frameTypes } from '../../src/guest/frame.ts';
import type { Guest, Identity } from '../../src/guest/guest.ts';
import { Notifier } from '../../src/lib/notifier.ts';

export const identity: Identity = {
  epoch: 1,
  key: new Uint8Array(32).fill(7),
  hostname: 'ses-test',
  machineId: '0123456789abcdef0123456789abcdef',
  renew: true,
};

export class FakeGuest {
  readonly stream: Duplex;
  epoch = 0;
  /** All that the host has sent and the test has not taken. */
  readonly inbox: Frame[] = [];
  readonly #arrived = new Notifier();
  readonly #decoder = new FrameDecoder('host-to-guest');
  onFrame: (frame: Frame) => boolean = () => false;

  constructor(stream: Duplex) {
    this.stream = stream;
    stream.on('error', () => {});
    stream.on('data', (chunk: Buffer) => {
      this.#decoder.push(chunk);
      for (let frame = this.#decoder.next(); frame !== undefined; frame = this.#decoder.next()) {
        if (!this.onFrame(frame)) this.inbox.push(frame);
      }
      this.#arrived.notify();
    });
  }

  /** The oldest frame of that type, when it comes. */
  async take(type: FrameType): Promise<Frame> {
    for (;;) {
      const index = this.inbox.findIndex((frame) => frame.header.type === type);
      const [frame] = index === -1 ? [] : this.inbox.splice(index, 1);
      if (frame !== undefined) return frame;
      await this.#arrived.wait();
    }
  }

  async takeJson(type: FrameType): Promise<{ stream: number; body: Record<string, unknown> }> {
    const { header, payload } = await this.take(type);
    return { stream: header.stream, body: JSON.parse(payload.toString()) };
  }

  raw(bytes: Uint8Array): void {
    if (!this.stream.destroyed) this.stream.write(bytes);
  }

  send(type: FrameType, stream: number, payload: Uint8Array | object, flags = 0): void {
    const bytes = payload instanceof Uint8Array ? payload : Buffer.from(JSON.stringify(payload));
    this.raw(encodeFrame(type, flags, this.epoch, stream, bytes));
  }

  data(stream: number, lane: number, payload: Uint8Array | string, flags = 0): void {
    this.send(frameTypes.data, stream, Buffer.from(payload), lane | flags);
  }

  message(stream: number, message: object | string): void {
    const bytes = Buffer.from(typeof message === 'string' ? message : JSON.stringify(message));
    for (let offset = 0; offset < bytes.length; offset += 65_536) {
      const piece = bytes.subarray(offset, offset + 65_536);
      this.data(stream, 3, piece, offset + piece.length < bytes.length ? dataFlags.more : 0);
    }
  }

  credit(stream: number, bytes: number): void {
    const payload = Buffer.alloc(4);
    payload.writeUInt32BE(bytes);
    this.send(frameTypes.credit, stream, payload);
  }

  close(stream: number, result: object): void {
    this.send(frameTypes.close, stream, { ok: true, result });
  }

  refuse(stream: number, code: string, message = ''): void {
    this.send(frameTypes.close, stream, { ok: false, error: { code, message } });
  }

  hello(): void {
    this.send(frameTypes.hello, 0, { version: 1, agent: '0.1.0', contexts: ['python'] });
  }

  /** Answers the IDENTIFY that comes next; `change` spoils the answer. */
  async confirm(change: Record<string, unknown> = {}): Promise<void> {
    const { body } = await this.takeJson(frameTypes.identify);
    this.epoch = Number(body['epoch']);
    this.send(frameTypes.confirm, 0, { ...confirmation(body), ...change });
  }
}

export function confirmation(identify: Record<string, unknown>): Record<string, unknown> {
  const epoch = Buffer.alloc(4);
  epoch.writeUInt32BE(Number(identify['epoch']));
  const proof = createHmac('sha256', Buffer.from(String(identify['key']), 'base64'))
    .update('bulkhead-confirm')
    .update(Buffer.from(String(identify['challenge']), 'base64'))
    .update(epoch)
    .digest('base64');
  const bootId = '01234567-89ab-cdef-0123-456789abcdef';
  return { epoch: identify['epoch'], proof, bootId, unixTimeNs: String(BigInt(Date.now()) * 1_000_000n) };
}

/** A host and a guest on the two ends of a stream, nothing said yet. */
export function pair(options: GuestOptions = {}): { guest: Guest; fake: FakeGuest } {
  const [hostEnd, guestEnd] = duplexPair();
  return { fake: new FakeGuest(guestEnd), guest: openGuest(hostEnd, options) };
}

/** The same, with the identity confirmed. */
export async function confirmedPair(options: GuestOptions = {}): Promise<{ guest: Guest; fake: FakeGuest }> {
  const both = pair(options);
  await Promise.all([both.guest.identify(identity), both.fake.confirm()]);
  return both;
}

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

export async function* chunks(...pieces: readonly (Uint8Array | string)[]): AsyncGenerator<Uint8Array> {
  for (const piece of pieces) yield Buffer.from(piece);
}

/** Lets everything that is due happen. */
export async function turnsOfTheLoop(count = 5): Promise<void> {
  for (let turn = 0; turn < count; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** Waits for a condition, not for a time; fails after five seconds. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + 5000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`never happened: ${what}`);
    await turnsOfTheLoop(1);
  }
}

export const runResult: Record<string, unknown> = {
  status: 'ok',
  elapsedNs: '1500000',
  dropped: { stdout: 0, stderr: 0, events: 0 },
  fate: 'kept',
  exitCode: null,
  signal: null,
};
