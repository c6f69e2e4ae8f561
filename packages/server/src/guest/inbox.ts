// What has come on one stream and has not been consumed: never more than the credit that the guest had, and one long message
// where the stream holds an assembly slot. Credit goes back as the consumer takes, or at once for what is thrown away.

import { limits } from '@bulkhead/protocol';
import { ByteQueue } from '../lib/byte-queue.ts';
import { Fifo } from '../lib/fifo.ts';
import type { AssemblySlots } from './assembly-slots.ts';
import { channelLimits } from './channel-limits.ts';
import { type Lane, ProtocolViolation, laneOf, lanes } from './frame.ts';

/** Bytes of stdout or stderr, in pieces as they suit; or one whole message of lane 3. */
export interface Inbound {
  readonly lane: Lane;
  readonly bytes: Buffer;
}

// A run of bytes in the queue is one number: its lane above its length. Objects would let a guest that writes single bytes
// to stdout and stderr in turn make us keep a hundred bytes for each.
const laneFactor = 0x100_0000;

export class Inbox {
  readonly #slots: AssemblySlots;
  readonly #giveCredit: (bytes: number) => void;
  readonly #bytes = new ByteQueue();
  readonly #runs = new Fifo<number>();
  /** For each message in the queue, how many of its bytes have not been credited yet. */
  readonly #messageCharges = new Fifo<number>();
  readonly #partial = new ByteQueue();
  #partialLength = 0;
  #partialCharge = 0;
  #slot: 'none' | 'waiting' | 'assembling' | 'queued' = 'none';
  #releaseSlot: () => void = () => {};
  #allowance: number = channelLimits.windowBytes;
  #owed = 0;
  #discarding = false;
  #closed = false;

  constructor(slots: AssemblySlots, giveCredit: (bytes: number) => void) {
    this.#slots = slots;
    this.#giveCredit = giveCredit;
  }

  /** What the guest may send now. */
  get allowance(): number {
    return this.#allowance;
  }

  get isEmpty(): boolean {
    return this.#runs.length === 0;
  }

  /** Whether a message has begun and not ended. */
  get inMessage(): boolean {
    return this.#partialLength > 0;
  }

  receive(lane: Lane, payload: Buffer, more: boolean): void {
    this.#allowance -= payload.length;
    if (lane === lanes.events) this.#receiveMessage(payload, more);
    else if (this.#discarding) this.#owe(payload.length);
    else if (payload.length > 0) {
      this.#bytes.append(payload);
      const last = this.#runs.peekLast() ?? 0;
      if (Math.floor(last / laneFactor) === lane && (last % laneFactor) + payload.length < laneFactor) {
        this.#runs.replaceLast(last + payload.length);
      } else this.#runs.push(lane * laneFactor + payload.length);
    }
  }

  #receiveMessage(payload: Buffer, more: boolean): void {
    this.#partialLength += payload.length;
    if (this.#partialLength > limits.resultMaxBytes) throw new ProtocolViolation('a message is too long');
    if (this.#discarding) {
      if (!more) this.#partialLength = 0;
      this.#owe(payload.length);
      return;
    }
    this.#partial.append(payload);
    this.#partialCharge += payload.length;
    if (more) this.#extendCredit();
    else if (this.#partialLength > 0) this.#finishMessage();
  }

  #finishMessage(): void {
    this.#bytes.takeAllOf(this.#partial);
    this.#runs.push(lanes.events * laneFactor + this.#partialLength);
    this.#messageCharges.push(this.#partialCharge);
    if (this.#slot === 'assembling') this.#slot = 'queued';
    else if (this.#slot === 'waiting') this.#dropSlot();
    this.#partialLength = 0;
    this.#partialCharge = 0;
  }

  /** Lets a message that is longer than the window go on, when it is its turn. */
  #extendCredit(): void {
    if (this.#slot === 'none' && this.#partialLength > channelLimits.messageWithoutSlotMaxBytes) {
      this.#slot = 'waiting';
      this.#releaseSlot = this.#slots.acquire(() => {
        this.#slot = 'assembling';
        this.#extendCredit();
      });
    } else if (this.#slot === 'assembling') {
      const charge = this.#partialCharge;
      this.#partialCharge = 0;
      this.#owe(charge);
    }
  }

  #dropSlot(): void {
    this.#slot = 'none';
    const release = this.#releaseSlot;
    this.#releaseSlot = () => {};
    release();
  }

  #owe(bytes: number): void {
    this.#owed += bytes;
    if (this.#closed || this.#owed < channelLimits.creditStepBytes) return;
    const credit = this.#owed;
    this.#owed = 0;
    this.#allowance += credit;
    this.#giveCredit(credit);
  }

  /** What is next, if anything is; taking it gives its credit back. */
  take(): Inbound | undefined {
    const run = this.#runs.peek();
    if (run === undefined) return undefined;
    const lane = laneOf(Math.floor(run / laneFactor));
    const length = run % laneFactor;
    if (lane === lanes.events) return this.#takeMessage(length);
    const bytes = this.#bytes.take(Math.min(length, channelLimits.frameMaxBytes));
    if (bytes.length === length) this.#runs.shift();
    else this.#runs.replaceFirst(run - bytes.length);
    this.#owe(bytes.length);
    return { lane, bytes };
  }

  #takeMessage(length: number): Inbound {
    this.#runs.shift();
    const bytes = this.#bytes.takeExactly(length);
    const charge = this.#messageCharges.shift() ?? 0;
    if (charge < length && this.#slot === 'queued') {
      this.#dropSlot();
      this.#extendCredit();
    }
    this.#owe(charge);
    return { lane: lanes.events, bytes };
  }

  /** Throws away what is here and whatever comes, giving credit for it, so that the guest can come to its end. */
  discard(): void {
    if (this.#discarding) return;
    this.#discarding = true;
    let charge = this.#partialCharge;
    for (let run = this.#runs.shift(); run !== undefined; run = this.#runs.shift()) {
      const isMessage = Math.floor(run / laneFactor) === lanes.events;
      charge += isMessage ? (this.#messageCharges.shift() ?? 0) : run % laneFactor;
    }
    this.#bytes.clear();
    this.#partial.clear();
    this.#partialCharge = 0;
    this.#dropSlot();
    this.#owe(charge);
  }

  /** Nothing more comes. What is here can still be taken. */
  close(): void {
    this.#closed = true;
    this.#partial.clear();
    this.#dropSlot();
  }
}
