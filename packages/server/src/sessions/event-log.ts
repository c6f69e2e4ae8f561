// The events of one turn: ordered, numbered from 1 without a gap, kept within bounds, and read by any number of readers,
// each from where it was. What the bounds drop is counted and told before the turn's end, never passed over in silence.
//
// Text is coalesced: a chunk that comes soon after another waits for more, so that a flood of small writes is few events.
// The first chunk after a pause is shown at once. The wait grows with the number of events, so that a turn which prints
// all day stays within the count.

import {
  type GuestException,
  type MimeBundle,
  type SessionId,
  type TurnEvent,
  type TurnId,
  type TurnOutcome,
  type TurnResult,
  foldTurn,
} from '@bulkhead/protocol';
import type { Clock } from '../lib/clock.ts';
import { OutputDecoder } from './output-decoder.ts';

export interface EventLogBounds {
  readonly turnOutputMaxBytes: number;
  readonly resultMaxBytes: number;
  readonly turnResultsMaxBytes: number;
  readonly turnResultsMaxCount: number;
  readonly turnEventsMaxCount: number;
}

/** What the guest says that it dropped before sending. */
export interface GuestDropped {
  readonly stdout: number;
  readonly stderr: number;
  readonly events: number;
}

type OutputStream = 'stdout' | 'stderr';
// Without `seq`: `Omit` on a union would lose its members.
type Unnumbered<Event> = Event extends TurnEvent ? Omit<Event, 'seq'> : never;

const coalesceMs = 20;
const coalesceGrowthPerEventMs = 0.02;
const textEventMaxBytes = 65_536;
/** One `truncated` per stream, the last exception and the end always find room. */
const reservedEvents = 6;

export class EventLog {
  readonly #clock: Clock;
  readonly #bounds: EventLogBounds;
  readonly #events: TurnEvent[] = [];
  readonly #decoders: Record<OutputStream, OutputDecoder> = {
    stdout: new OutputDecoder(),
    stderr: new OutputDecoder(),
  };
  readonly #dropped: Record<'stdout' | 'stderr' | 'results' | 'events', number> = {
    stdout: 0,
    stderr: 0,
    results: 0,
    events: 0,
  };
  #outputBytes = 0;
  #resultBytes = 0;
  #resultCount = 0;
  #waiting: { stream: OutputStream; text: string; bytes: number } | undefined;
  #lastSealMs = Number.NEGATIVE_INFINITY;
  #cancelSeal: (() => void) | undefined;
  #closed = false;
  #ended = false;
  #changed = Promise.withResolvers<void>();

  constructor(clock: Clock, bounds: EventLogBounds) {
    this.#clock = clock;
    this.#bounds = bounds;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** About what the log holds, in bytes. */
  get sizeBytes(): number {
    return this.#outputBytes + this.#resultBytes + this.#events.length * 64;
  }

  appendOutput(stream: OutputStream, bytes: Uint8Array): void {
    if (this.#closed) return;
    const room = Math.max(0, this.#bounds.turnOutputMaxBytes - this.#outputBytes);
    const kept = bytes.length <= room ? bytes : bytes.subarray(0, room);
    this.#dropped[stream] += bytes.length - kept.length;
    if (kept.length === 0) return;
    this.#outputBytes += kept.length;
    const decoder = this.#decoders[stream];
    const before = decoder.waitingBytes;
    const text = decoder.decode(kept);
    this.#appendText(stream, text, before + kept.length - decoder.waitingBytes);
  }

  appendResult(type: 'result' | 'display', data: MimeBundle, sizeBytes: number): void {
    if (this.#closed) return;
    const fits =
      sizeBytes <= this.#bounds.resultMaxBytes &&
      this.#resultBytes + sizeBytes <= this.#bounds.turnResultsMaxBytes &&
      this.#resultCount < this.#bounds.turnResultsMaxCount;
    this.#seal();
    if (!fits || !this.#hasRoom()) {
      this.#dropped.results += sizeBytes;
      return;
    }
    this.#resultBytes += sizeBytes;
    this.#resultCount += 1;
    this.#push({ type, data });
  }

  appendException(exception: GuestException): void {
    if (this.#closed) return;
    this.#seal();
    const sizeBytes = exceptionSizeBytes(exception);
    if (!this.#hasRoom() || this.#resultBytes + sizeBytes > this.#bounds.turnResultsMaxBytes) {
      this.#dropped.events += sizeBytes;
      return;
    }
    this.#resultBytes += sizeBytes;
    this.#push({ type: 'exception', exception });
  }

  /**
   * Takes no more, and answers with all events, the last one too, which readers do not see before `end`. `guestDropped` is undefined when the guest gave
   * no account.
   */
  close(outcome: TurnOutcome, guestDropped: GuestDropped | undefined): readonly TurnEvent[] {
    if (this.#closed) return this.#events;
    this.#flushDecoders();
    this.#seal();
    const dropped = {
      stdout: this.#dropped.stdout + (guestDropped?.stdout ?? 0),
      stderr: this.#dropped.stderr + (guestDropped?.stderr ?? 0),
      results: this.#dropped.results + (guestDropped?.events ?? 0),
      events: this.#dropped.events,
    };
    const exact = guestDropped !== undefined;
    for (const stream of ['stdout', 'stderr', 'results', 'events'] as const) {
      const droppedBytes = dropped[stream];
      if (droppedBytes > 0) this.#push({ type: 'truncated', stream, droppedBytes, exact });
    }
    this.#closed = true;
    return [...this.#events, { type: 'end', outcome, seq: this.#events.length + 1 }];
  }

  /** The last event, after `close`. */
  end(outcome: TurnOutcome): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#push({ type: 'end', outcome });
  }

  /** At most `limit` of the events after `after` that are there now. */
  slice(after: number, limit: number): readonly TurnEvent[] {
    return this.#events.slice(after, after + limit);
  }

  /** Every event after `after`, those to come as well, up to the end. Leaves quietly when `signal` is aborted. */
  async *read(after = 0, options: { readonly signal?: AbortSignal } = {}): AsyncGenerator<TurnEvent, void, void> {
    const { signal } = options;
    const aborted = Promise.withResolvers<void>();
    const onAbort = (): void => aborted.resolve();
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      let next = Math.max(0, after);
      for (;;) {
        if (signal?.aborted === true) return;
        const event = this.#events[next];
        if (event !== undefined) {
          next += 1;
          yield event;
        } else if (this.#ended) {
          return;
        } else {
          await Promise.race([this.#changed.promise, aborted.promise]);
        }
      }
    } finally {
      signal?.removeEventListener('abort', onAbort);
    }
  }

  /** The finished turn. */
  fold(sessionId: SessionId, turnId: TurnId): TurnResult {
    const last = this.#events.at(-1);
    if (last?.type !== 'end') throw new Error('The turn has not ended');
    return foldTurn(sessionId, turnId, this.#events, last.outcome);
  }

  #appendText(stream: OutputStream, text: string, bytes: number): void {
    if (text === '') return;
    if (this.#waiting !== undefined && this.#waiting.stream !== stream) this.#seal();
    if (this.#waiting === undefined) this.#waiting = { stream, text, bytes };
    else {
      this.#waiting.text += text;
      this.#waiting.bytes += bytes;
    }
    if (this.#waiting.bytes >= textEventMaxBytes) this.#seal();
    else this.#scheduleSeal();
  }

  #scheduleSeal(): void {
    if (this.#cancelSeal !== undefined) return;
    const intervalMs = Math.max(coalesceMs, this.#events.length * coalesceGrowthPerEventMs);
    const delayMs = this.#lastSealMs + intervalMs - this.#clock.nowMs();
    if (delayMs <= 0) this.#seal();
    else this.#cancelSeal = this.#clock.after(delayMs, () => this.#seal());
  }

  #seal(): void {
    this.#cancelSeal?.();
    this.#cancelSeal = undefined;
    const waiting = this.#waiting;
    if (waiting === undefined) return;
    this.#waiting = undefined;
    this.#lastSealMs = this.#clock.nowMs();
    if (this.#hasRoom()) this.#push({ type: waiting.stream, text: waiting.text });
    else this.#dropped[waiting.stream] += waiting.bytes;
  }

  #flushDecoders(): void {
    for (const stream of ['stdout', 'stderr'] as const) {
      const decoder = this.#decoders[stream];
      const bytes = decoder.waitingBytes;
      if (bytes === 0) continue;
      // The character was whole when the guest wrote it: our own bound cut it.
      if (this.#dropped[stream] > 0) this.#dropped[stream] += bytes;
      else this.#appendText(stream, decoder.end(), bytes);
    }
  }

  #hasRoom(): boolean {
    return this.#events.length < this.#bounds.turnEventsMaxCount - reservedEvents;
  }

  #push(event: Unnumbered<TurnEvent>): void {
    this.#events.push({ ...event, seq: this.#events.length + 1 });
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }
}

function exceptionSizeBytes(exception: GuestException): number {
  let characters = exception.name.length + exception.value.length + exception.traceback.length;
  for (const frame of exception.frames) {
    characters += frame.file.length + frame.name.length + (frame.source?.length ?? 0) + 16;
  }
  return characters * 2;
}
