// The host's end of a channel: streams, pings and the identity over one byte stream. Nothing that the guest sends can make
// this file throw into the event loop, keep more than a bounded amount of memory, or hold the loop for longer than a tick's
// budget; whatever breaks a rule of docs/channel.md ends the channel.

import { randomBytes } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { BulkheadError, limits } from '@bulkhead/protocol';
import type { Clock } from '../lib/clock.ts';
import { withDeadline } from '../lib/deadline.ts';
import { Notifier } from '../lib/notifier.ts';
import { printable } from '../lib/printable.ts';
import { AssemblySlots } from './assembly-slots.ts';
import { type ChannelTimeouts, channelLimits } from './channel-limits.ts';
import {
  type Frame,
  FrameDecoder,
  type FrameHeader,
  type FrameType,
  ProtocolViolation,
  encodeFrame,
  encodeHeader,
  frameTypes,
} from './frame.ts';
import type { CallOptions, ChannelEnd, Confirmation, Identity } from './guest.ts';
import { cancelledError, endError, throwIfCancelled } from './guest-errors.ts';
import { type Challenge, checkConfirm, makeChallenge } from './handshake.ts';
import { parseMessage } from './json.ts';
import { helloSchema, nothingSchema } from './messages.ts';
import { ChannelStream, type StandingStream, type StreamLink, type StreamSpec } from './stream.ts';

interface Handshake {
  readonly challenge: Challenge;
  readonly sentUnixMs: number;
  readonly sentMs: number;
  readonly settled: PromiseWithResolvers<Confirmation>;
}

/** Frames up to this size are written as one buffer: a copy is cheaper than a second entry in the writer's queue. */
const copyMaxBytes = 2048;

export class Mux implements StreamLink {
  readonly ended: Promise<ChannelEnd>;
  readonly slots: AssemblySlots = new AssemblySlots(channelLimits.assemblySlots);
  readonly drained: Notifier = new Notifier();
  readonly clock: Clock;
  readonly timeouts: ChannelTimeouts;
  readonly #duplex: Duplex;
  readonly #decoder = new FrameDecoder('guest-to-host', (header) => this.#checkHeader(header));
  readonly #streams = new Map<number, ChannelStream<unknown>>();
  readonly #pings = new Map<string, PromiseWithResolvers<void>>();
  readonly #hello = Promise.withResolvers<void>();
  readonly #resolveEnded: (end: ChannelEnd) => void;
  #helloSeen = false;
  #end: ChannelEnd | undefined;
  #epoch = 0;
  #handshake: Handshake | undefined;
  #confirmed = false;
  #nextStream = 1;
  #corked = false;
  #budget: number = channelLimits.tickBudgetBytes;
  #refilling = false;
  #paused = false;
  #inputEnded = false;
  #activeAtUnixMs = 0;

  constructor(duplex: Duplex, clock: Clock, timeouts: ChannelTimeouts) {
    this.#duplex = duplex;
    this.clock = clock;
    this.timeouts = timeouts;
    const { promise, resolve } = Promise.withResolvers<ChannelEnd>();
    this.ended = promise;
    this.#resolveEnded = resolve;
    this.#hello.promise.catch(() => {});
    duplex.on('data', (chunk: Buffer) => this.#receive(chunk));
    duplex.on('drain', () => this.drained.notify());
    duplex.on('end', () => this.#finishInput());
    duplex.on('error', (error: NodeJS.ErrnoException) =>
      this.end('ended', printable(error.code ?? 'stream error', 40)),
    );
    duplex.on('close', () => this.end('ended', 'the stream was closed'));
  }

  // For callers.

  get activeAtUnixMs(): number {
    return this.#isUnderWay ? this.clock.unixMs() : this.#activeAtUnixMs;
  }

  /** Something has moved on a stream that stands open. */
  touch(): void {
    this.#activeAtUnixMs = this.clock.unixMs();
  }

  countStanding(kind: StandingStream['kind']): number {
    return this.#standing().filter(({ spec }) => spec.standing?.kind === kind).length;
  }

  #standing(): readonly ChannelStream<unknown>[] {
    return [...this.#streams.values()].filter(({ spec }) => spec.standing !== undefined);
  }

  get #isUnderWay(): boolean {
    return [...this.#streams.values()].some(({ spec }) => spec.standing?.isBusy() ?? true);
  }

  async hello(options: CallOptions = {}): Promise<void> {
    await this.#untilCancelled('hello', this.#hello.promise, options.signal);
  }

  async identify(identity: Identity, options: CallOptions = {}): Promise<Confirmation> {
    throwIfCancelled('identify', options.signal);
    this.#throwIfEnded();
    const challenge = makeChallenge(identity);
    const isFresh = this.#epoch === 0;
    if (this.#handshake !== undefined || this.#streams.size > 0 || (!isFresh && identity.epoch !== this.#epoch + 1)) {
      throw new BulkheadError(
        'state_conflict',
        'An identity is given when no stream is open, once for each epoch, and epochs rise by one',
      );
    }
    // After a resume the host's end is new, and the identity in force in the guest is the one before.
    this.#epoch = identity.epoch - 1;
    this.#confirmed = false;
    const settled = Promise.withResolvers<Confirmation>();
    const sentUnixMs = this.clock.unixMs();
    this.#handshake = { challenge, settled, sentUnixMs, sentMs: this.clock.nowMs() };
    this.send(frameTypes.identify, 0, 0, challenge.identify(sentUnixMs));
    const expire = (): void => this.end('unresponsive', 'no answer to IDENTIFY');
    const confirmed = withDeadline(this.clock, this.timeouts.identifyTimeoutMs, expire, settled.promise);
    return await this.#untilCancelled('identify', confirmed, options.signal);
  }

  async ping(options: CallOptions = {}): Promise<void> {
    throwIfCancelled('ping', options.signal);
    this.#throwIfNotReady();
    if (this.#pings.size >= channelLimits.pingsMaxCount) {
      throw new BulkheadError('limit_exceeded', 'Too many pings are unanswered');
    }
    const payload = randomBytes(channelLimits.pingBytes);
    const answered = Promise.withResolvers<void>();
    this.#pings.set(payload.toString('latin1'), answered);
    this.send(frameTypes.ping, 0, 0, payload);
    const expire = (): void => this.end('unresponsive', 'no answer to PING');
    const pong = withDeadline(this.clock, this.timeouts.pingTimeoutMs, expire, answered.promise);
    await this.#untilCancelled('ping', pong, options.signal);
  }

  /** Starts an operation. Throws when the channel cannot take one now. */
  open<Result>(spec: StreamSpec<Result>): ChannelStream<Result> {
    this.#throwIfNotReady();
    if (this.#streams.size >= limits.streamsMaxCount || this.#nextStream > channelLimits.streamMaxId) {
      throw new BulkheadError('limit_exceeded', 'Too many operations are under way in this session', {
        hint: 'Wait until one of them has ended.',
      });
    }
    const payload = Buffer.from(JSON.stringify({ op: spec.op, ...spec.parameters }));
    if (payload.length > channelLimits.frameMaxBytes) {
      throw new BulkheadError('limit_exceeded', `The parameters of ${spec.op} are too long`, {
        details: { bytes: payload.length, maxBytes: channelLimits.frameMaxBytes },
      });
    }
    const stream = new ChannelStream(this.#nextStream, spec, this);
    this.#nextStream += 2;
    this.#streams.set(stream.id, stream);
    this.send(frameTypes.open, 0, stream.id, payload);
    return stream;
  }

  /** The last operation of an epoch. */
  async freeze(): Promise<void> {
    this.#throwIfUnderWay();
    await this.#closeStanding();
    this.#throwIfUnderWay();
    const stream = this.open({ op: 'freeze', parameters: {}, result: nothingSchema, lanes: [] });
    this.#confirmed = false;
    await this.settle(stream, this.timeouts.controlTimeoutMs);
  }

  #throwIfUnderWay(): void {
    if (!this.#isUnderWay && this.#pings.size === 0) return;
    throw new BulkheadError('state_conflict', 'Something is under way in this session', {
      hint: 'Wait until transfers and commands have ended, or end them.',
    });
  }

  async #closeStanding(): Promise<void> {
    const standing = this.#standing();
    const error = new BulkheadError('port_unreachable', 'The session stands still; its connections were closed', {
      hint: 'Connect again: the session is resumed where it sleeps.',
    });
    for (const stream of standing) stream.cancel(error);
    await Promise.allSettled(standing.map(({ outcome }) => outcome));
    if (this.#standing().length > 0) await this.#closeStanding();
  }

  /** The outcome of a stream, or `cancelled` as soon as the signal says so; the stream then ends on its own. */
  async settle<Result>(stream: ChannelStream<Result>, timeoutMs: number, signal?: AbortSignal): Promise<Result> {
    const { op } = stream.spec;
    const expire = (): void => this.end('unresponsive', `no answer to ${op}`);
    const outcome = withDeadline(this.clock, timeoutMs, expire, stream.outcome);
    return await this.#untilCancelled(op, outcome, signal, () => stream.cancel());
  }

  async call<Result>(spec: StreamSpec<Result>, timeoutMs: number, options: CallOptions = {}): Promise<Result> {
    throwIfCancelled(spec.op, options.signal);
    return await this.settle(this.open(spec), timeoutMs, options.signal);
  }

  async #untilCancelled<T>(
    what: string,
    work: Promise<T>,
    signal: AbortSignal | undefined,
    cancel: () => void = () => {},
  ): Promise<T> {
    if (signal === undefined) return await work;
    const { promise, reject } = Promise.withResolvers<never>();
    const abort = (): void => {
      cancel();
      reject(cancelledError(what, signal));
    };
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
    try {
      return await Promise.race([work, promise]);
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }

  #throwIfEnded(): void {
    if (this.#end !== undefined) throw endError(this.#end);
  }

  #throwIfNotReady(): void {
    this.#throwIfEnded();
    if (!this.#confirmed)
      throw new BulkheadError('state_conflict', 'The machine has no confirmed identity at the moment');
  }

  /** Ends the channel; only the first reason counts. */
  end(reason: ChannelEnd['reason'], detail: string): void {
    if (this.#end !== undefined) return;
    this.#end = { reason, detail };
    this.#duplex.destroy();
    const error = endError(this.#end);
    this.#hello.reject(error);
    this.#handshake?.settled.reject(error);
    for (const answered of this.#pings.values()) answered.reject(error);
    this.#pings.clear();
    for (const stream of this.#streams.values()) stream.channelEnded(error);
    this.#streams.clear();
    this.drained.notify();
    this.#resolveEnded(this.#end);
  }

  async close(): Promise<void> {
    this.end('closed', '');
    if (this.#duplex.closed) return;
    const closed = Promise.withResolvers<void>();
    this.#duplex.once('close', closed.resolve);
    await withDeadline(this.clock, channelLimits.closeMs, closed.resolve, closed.promise);
  }

  // For streams.

  get isCongested(): boolean {
    return this.#duplex.writableLength >= channelLimits.outgoingSoftMaxBytes;
  }

  /** Frames of one tick leave in one write. */
  send(type: FrameType, flags: number, stream: number, payload: Uint8Array): void {
    if (this.#end !== undefined) return;
    if (this.#duplex.writableLength > channelLimits.outgoingMaxBytes) {
      this.end('unresponsive', 'the guest does not read');
      return;
    }
    if (!this.#corked) {
      this.#corked = true;
      this.#duplex.cork();
      process.nextTick(() => {
        this.#corked = false;
        this.#duplex.uncork();
      });
    }
    if (payload.length <= copyMaxBytes) {
      this.#duplex.write(encodeFrame(type, flags, this.#epoch, stream, payload));
      return;
    }
    this.#duplex.write(encodeHeader(payload.length, type, flags, this.#epoch, stream));
    this.#duplex.write(payload);
  }

  violate(violation: unknown): BulkheadError {
    // An error that is not a violation is a fault of ours that this guest found; it must not reach the other sessions either.
    const detail = violation instanceof ProtocolViolation ? violation.message : 'the host could not handle a frame';
    this.end('protocol_violation', detail);
    return endError(this.#end ?? { reason: 'protocol_violation', detail });
  }

  expectCloseSoon(op: string): () => void {
    return this.clock.after(this.timeouts.cancelTimeoutMs, () =>
      this.end('unresponsive', `${op} did not end when it was killed`),
    );
  }

  // From the guest.

  #receive(chunk: Buffer): void {
    if (this.#end !== undefined) return;
    try {
      this.#decoder.push(chunk);
      this.#pump();
    } catch (violation) {
      this.violate(violation);
    }
  }

  #finishInput(): void {
    this.#inputEnded = true;
    if (this.#decoder.hasInput) return;
    this.end('ended', this.#decoder.inFrame ? 'the stream ended within a frame' : 'the stream ended');
  }

  /** Handles what was received until it is used up or this channel's share of the tick is; then the other channels have theirs. */
  #pump(): void {
    this.#scheduleRefill();
    while (this.#end === undefined) {
      if (this.#budget <= 0) {
        this.#paused = true;
        this.#duplex.pause();
        return;
      }
      const frame = this.#decoder.next();
      if (frame === undefined) break;
      this.#budget -= frame.payload.length + channelLimits.frameCostBytes;
      this.#handle(frame);
    }
    if (this.#inputEnded) this.#finishInput();
  }

  #scheduleRefill(): void {
    if (this.#refilling) return;
    this.#refilling = true;
    setImmediate(() => this.#refill());
  }

  #refill(): void {
    this.#refilling = false;
    this.#budget = channelLimits.tickBudgetBytes;
    if (!this.#paused || this.#end !== undefined) return;
    this.#paused = false;
    try {
      this.#pump();
    } catch (violation) {
      this.violate(violation);
    }
    if (!this.#paused && this.#end === undefined) this.#duplex.resume();
  }

  #checkHeader(header: FrameHeader): void {
    const { type, epoch } = header;
    const expected = type === frameTypes.confirm ? this.#epoch + 1 : this.#epoch;
    if (epoch !== expected) throw new ProtocolViolation(`frame type ${type} of epoch ${epoch} in epoch ${this.#epoch}`);
    if (type === frameTypes.hello) {
      if (this.#helloSeen || this.#epoch !== 0 || this.#confirmed) throw new ProtocolViolation('HELLO out of place');
    } else if (type === frameTypes.confirm) {
      if (this.#handshake === undefined) throw new ProtocolViolation('CONFIRM without IDENTIFY');
    } else if (type === frameTypes.pong) {
      if (this.#pings.size === 0) throw new ProtocolViolation('PONG without PING');
    } else {
      const stream = this.#stream(header);
      if (type === frameTypes.data) stream.checkData(header);
    }
  }

  #stream(header: FrameHeader): ChannelStream<unknown> {
    const stream = this.#streams.get(header.stream);
    if (stream === undefined) throw new ProtocolViolation(`frame type ${header.type} on a stream that is not open`);
    return stream;
  }

  #handle({ header, payload }: Frame): void {
    switch (header.type) {
      case frameTypes.data:
        this.#stream(header).receiveData(header, payload);
        return;
      case frameTypes.credit:
        this.#stream(header).receiveCredit(payload.readUInt32BE(0));
        return;
      case frameTypes.close: {
        const stream = this.#stream(header);
        stream.receiveClose(payload);
        this.#streams.delete(stream.id);
        if (stream.spec.standing === undefined) this.touch();
        return;
      }
      case frameTypes.pong:
        this.#receivePong(payload);
        return;
      case frameTypes.hello:
        parseMessage(payload, helloSchema, 'HELLO');
        this.#helloSeen = true;
        this.#hello.resolve();
        return;
      case frameTypes.confirm:
        this.#receiveConfirm(payload);
        return;
      case frameTypes.identify:
      case frameTypes.open:
      case frameTypes.signal:
      case frameTypes.ping:
        throw new ProtocolViolation(`frame type ${header.type} from the guest`);
      default:
        header.type satisfies never;
    }
  }

  #receivePong(payload: Buffer): void {
    const name = payload.toString('latin1');
    const answered = this.#pings.get(name);
    if (answered === undefined) throw new ProtocolViolation('PONG that matches no PING');
    this.#pings.delete(name);
    answered.resolve();
  }

  #receiveConfirm(payload: Buffer): void {
    const handshake = this.#handshake;
    if (handshake === undefined) throw new ProtocolViolation('CONFIRM without IDENTIFY');
    const confirm = checkConfirm(payload, handshake.challenge);
    const midpointMs = handshake.sentUnixMs + (this.clock.nowMs() - handshake.sentMs) / 2;
    this.#handshake = undefined;
    this.#epoch = confirm.epoch;
    this.#confirmed = true;
    this.#nextStream = 1;
    handshake.settled.resolve({ bootId: confirm.bootId, clockSkewMs: confirm.unixTimeNs - midpointMs });
  }
}
