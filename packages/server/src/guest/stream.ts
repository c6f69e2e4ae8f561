// One operation on the channel: its input and output with their credits, and its outcome. It is forgotten only when the guest
// has closed it or the channel has ended; a caller that gave up leaves it behind, draining.

import type { BulkheadError } from '@bulkhead/protocol';
import type { z } from 'zod';
import { Notifier } from '../lib/notifier.ts';
import type { AssemblySlots } from './assembly-slots.ts';
import { channelLimits } from './channel-limits.ts';
import {
  type FrameHeader,
  type FrameType,
  type Lane,
  ProtocolViolation,
  dataFlags,
  frameTypes,
  laneOf,
  lanes,
} from './frame.ts';
import { refusalError } from './guest-errors.ts';
import { type Inbound, Inbox } from './inbox.ts';
import { checkMessage, parseMessage } from './json.ts';
import { closeSchema } from './messages.ts';

export interface StandingStream {
  readonly kind: 'connection' | 'calls' | 'egress' | 'egress connection';
  /** Something is under way on it that must not be cut off. */
  readonly isBusy: () => boolean;
}

export interface StreamSpec<Result> {
  readonly op: string;
  readonly parameters: Readonly<Record<string, unknown>>;
  readonly result: z.ZodType<Result>;
  /** The lanes on which the guest may send. */
  readonly lanes: readonly Lane[];
  /** A lane that must have ended before the guest may say that all went well. */
  readonly wholeLane?: Lane;
  /** A lane whose END is the end of what can be read, before the guest closes the stream. */
  readonly readsUntilEndOf?: Lane;
  /** It stays open, for nobody perhaps: it is activity only while it is busy or bytes move on it, and is closed when the guest is frozen. */
  readonly standing?: StandingStream;
  /** What the guest was told to keep to. */
  readonly outputMaxBytes?: number;
  readonly eventsMaxBytes?: number;
  /** For error messages. */
  readonly path?: string;
}

/** What a stream needs of its channel. */
export interface StreamLink {
  readonly slots: AssemblySlots;
  /** Notified when more can be written. */
  readonly drained: Notifier;
  readonly isCongested: boolean;
  send(type: FrameType, flags: number, stream: number, payload: Uint8Array): void;
  /** Ends the channel and gives the error of its end. */
  violate(violation: unknown): BulkheadError;
  /** Ends the channel unless the returned function is called in time. */
  expectCloseSoon(op: string): () => void;
}

export class ChannelStream<Result> {
  readonly id: number;
  readonly spec: StreamSpec<unknown>;
  /** Rejects with what the guest refused, or how the channel ended. Needs no handler. */
  readonly outcome: Promise<Result>;
  readonly #link: StreamLink;
  readonly #inbox: Inbox;
  readonly #changed = new Notifier();
  readonly #succeed: (result: unknown) => void;
  readonly #reject: (error: BulkheadError) => void;
  readonly #endedLanes = new Set<number>();
  #state: 'open' | 'closed' = 'open';
  #error: BulkheadError | undefined;
  #abandoned: { readonly error: BulkheadError | undefined } | undefined;
  #killed = false;
  #inputEnded = false;
  #sentBytes = 0;
  #sendCredit: number = channelLimits.windowBytes;
  #creditFramesLeft: number = channelLimits.creditFramesMaxCount;
  #received = { output: 0, events: 0 };
  #stopCloseDeadline: () => void = () => {};

  constructor(id: number, spec: StreamSpec<Result>, link: StreamLink) {
    this.id = id;
    this.spec = spec;
    this.#link = link;
    this.#inbox = new Inbox(link.slots, (bytes) => {
      const payload = Buffer.allocUnsafe(4);
      payload.writeUInt32BE(bytes);
      link.send(frameTypes.credit, 0, id, payload);
    });
    const { promise, resolve, reject } = Promise.withResolvers<Result>();
    this.outcome = promise;
    this.#succeed = (result) => resolve(checkMessage(result, spec.result, `result of ${spec.op}`));
    this.#reject = reject;
    promise.catch(() => {});
  }

  /** Whether writing is pointless: the stream is closed, killed or abandoned. */
  get isStopped(): boolean {
    return this.#state === 'closed' || this.#killed;
  }

  /** Whether only the guest can make this stream move: it has all its input, or has no credit for more. */
  get isWaitingForGuest(): boolean {
    return this.#inputEnded || this.#sendCredit === 0 || this.#link.isCongested;
  }

  get sentBytes(): number {
    return this.#sentBytes;
  }

  /** Calls `stop` once, when anything changes; see `isStopped`. */
  onChange(stop: () => void): () => void {
    return this.#changed.add(stop);
  }

  // The caller's side.

  /** What the guest sent next; undefined when it is done. Throws what `outcome` rejects with, after all that came before. */
  async read(): Promise<Inbound | undefined> {
    for (;;) {
      if (this.#abandoned !== undefined) {
        if (this.#abandoned.error === undefined) return undefined;
        throw this.#abandoned.error;
      }
      const inbound = this.#inbox.take();
      if (inbound !== undefined) return inbound;
      if (this.#error !== undefined) throw this.#error;
      if (this.#state === 'closed' || this.#hasEnded(this.spec.readsUntilEndOf)) return undefined;
      await this.#changed.wait();
    }
  }

  #hasEnded(lane: Lane | undefined): boolean {
    return lane !== undefined && this.#endedLanes.has(lane);
  }

  /** Runs a parser of what `read` gave; a violation in it ends the channel. */
  parse<T>(parser: () => T): T {
    try {
      return parser();
    } catch (violation) {
      throw this.#link.violate(violation);
    }
  }

  /** Sends input as the guest takes it. Resolves to false when the stream stopped before all was sent. */
  async write(bytes: Uint8Array, end = false): Promise<boolean> {
    let offset = 0;
    for (;;) {
      if (offset === bytes.length && end === this.#inputEnded) return true;
      if (this.isStopped) return false;
      const size = Math.min(bytes.length - offset, this.#sendCredit, channelLimits.frameMaxBytes);
      if (size === 0 && offset < bytes.length) await this.#changed.wait();
      else if (this.#link.isCongested) await this.#waitForDrain();
      else {
        const isLast = end && offset + size === bytes.length;
        this.#sendCredit -= size;
        this.#creditFramesLeft += channelLimits.creditFramesPerDataFrame + size / channelLimits.creditFrameMinBytes;
        this.#inputEnded ||= isLast;
        const piece = bytes.subarray(offset, offset + size);
        this.#link.send(frameTypes.data, isLast ? dataFlags.end : 0, this.id, piece);
        offset += size;
        this.#sentBytes += size;
      }
    }
  }

  async #waitForDrain(): Promise<void> {
    await new Promise<void>((resolve) => {
      const forget = this.#link.drained.add(wake);
      const forgetChange = this.#changed.add(wake);
      function wake(): void {
        forget();
        forgetChange();
        resolve();
      }
    });
  }

  signal(signal: 'interrupt' | 'kill' | 'resize', parameters: Readonly<Record<string, number>> = {}): void {
    if (this.#state === 'closed' || (this.#killed && signal === 'kill')) return;
    this.#link.send(frameTypes.signal, 0, this.id, Buffer.from(JSON.stringify({ signal, ...parameters })));
    if (signal !== 'kill') return;
    this.#killed = true;
    this.#changed.notify();
  }

  /** The caller is not interested in output any more; the outcome still comes. */
  discard(): void {
    this.#abandoned ??= { error: undefined };
    this.#inbox.discard();
    this.#changed.notify();
  }

  /** The caller gave up: kills the operation, and ends the channel when the guest does not close it soon. `read` throws `error`. */
  cancel(error?: BulkheadError): void {
    if (this.#abandoned === undefined) this.#abandoned = { error };
    if (this.#state === 'closed') return;
    this.signal('kill');
    this.discard();
    this.#stopCloseDeadline();
    this.#stopCloseDeadline = this.#link.expectCloseSoon(this.spec.op);
  }

  // The guest's side; these throw `ProtocolViolation`.

  /** Before a byte of its payload is accepted. */
  checkData(header: FrameHeader): void {
    const lane = laneOf(header.flags);
    if (!this.spec.lanes.includes(lane)) throw new ProtocolViolation(`DATA on lane ${lane} of ${this.spec.op}`);
    if (this.#endedLanes.has(lane)) throw new ProtocolViolation(`DATA after END on lane ${lane}`);
    if (header.length > this.#inbox.allowance) throw new ProtocolViolation('DATA beyond the credit');
  }

  receiveData(header: FrameHeader, payload: Buffer): void {
    const lane = laneOf(header.flags);
    const counter = lane === lanes.events ? 'events' : 'output';
    this.#received[counter] += payload.length;
    const told = lane === lanes.events ? this.spec.eventsMaxBytes : this.spec.outputMaxBytes;
    if (told !== undefined && this.#received[counter] > told * 2 + channelLimits.laneSlackBytes) {
      throw new ProtocolViolation(`${this.spec.op} sent far more ${counter} than it was allowed`);
    }
    if ((header.flags & dataFlags.end) !== 0) this.#endedLanes.add(lane);
    this.#inbox.receive(lane, payload, (header.flags & dataFlags.more) !== 0);
    this.#changed.notify();
  }

  receiveCredit(bytes: number): void {
    this.#creditFramesLeft -= 1;
    if (bytes === 0 || this.#creditFramesLeft < 0) throw new ProtocolViolation('CREDIT without need');
    if (this.#sendCredit + bytes > channelLimits.creditMaxBytes) throw new ProtocolViolation('too much CREDIT');
    this.#sendCredit += bytes;
    this.#changed.notify();
  }

  /** The stream is over after this. */
  receiveClose(payload: Buffer): void {
    const close = parseMessage(payload, closeSchema, 'CLOSE');
    if (this.#inbox.inMessage) throw new ProtocolViolation('CLOSE within a message');
    if (!close.ok) {
      this.#finish(refusalError(this.spec.op, close.error.code, close.error.message, this.spec.path));
      return;
    }
    const { wholeLane } = this.spec;
    if (wholeLane !== undefined && !this.#hasEnded(wholeLane)) {
      throw new ProtocolViolation(`CLOSE before the END of lane ${wholeLane}`);
    }
    this.#succeed(close.result);
    this.#finish(undefined);
  }

  channelEnded(error: BulkheadError): void {
    this.#finish(error);
  }

  #finish(error: BulkheadError | undefined): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#error = error;
    if (error !== undefined) this.#reject(error);
    this.#stopCloseDeadline();
    this.#inbox.close();
    this.#changed.notify();
  }
}
