// The events of one turn, each exactly once and in order, over as many connections as it takes. The server keeps them under their
// numbers; after a cut the next connection asks for what follows the last one seen. The code runs once, whatever the network does.

import {
  BulkheadError,
  type SessionId,
  type TurnEvent,
  TurnFold,
  type TurnId,
  errorEntry,
  routes,
} from '@bulkhead/protocol';
import { throwIfAborted, untilAborted } from './abort.ts';
import type { Background } from './background.ts';
import { type SentEvent, sentEvents } from './event-source.ts';
import type { CallOptions } from './options.ts';
import { misunderstood, networkFailure, parseJson } from './problem.ts';
import { RunResult } from './run-result.ts';
import type { Transport } from './transport.ts';

export interface TurnSource extends CallOptions {
  readonly transport: Transport;
  readonly background: Background;
  readonly sessionId: SessionId;
  /** Resolves when the server has taken the turn. */
  readonly turn: Promise<TurnId>;
  /** The last event that has been seen; 0: none. */
  readonly after: number;
}

/** A connection that is silent for so long is taken for dead. Servers send a comment more often than that. */
const silenceMaxMs = 60_000;
/** So long it goes on without any answer of a server. */
const patienceMs = 60_000;
/** Connections in a row that bring nothing new. */
const barrenMaxCount = 12;
const firstDelayMs = 50;
const delayMaxMs = 5_000;

/**
 * For one reader at a time; whoever stops reading and begins again goes on where it was. Leaving the loop leaves the turn alone: `cancel`, or the signal
 * of the call, stops the code.
 */
export class TurnStream implements AsyncIterable<TurnEvent> {
  readonly #source: TurnSource;
  readonly #fromStart: boolean;
  #last: number;
  #fold: TurnFold | undefined;
  #ended = false;

  constructor(source: TurnSource) {
    this.#source = source;
    this.#last = source.after;
    this.#fromStart = source.after === 0;
    // Whoever only cancels, or only reads, need not look at this.
    source.turn.catch(() => undefined);
    source.signal?.addEventListener('abort', () => source.background.run(this.cancel()), { once: true });
  }

  /** Known when the server has taken the turn. Errors: those of a turn that is refused. */
  get turnId(): Promise<TurnId> {
    return this.#source.turn;
  }

  /** The number of the last event that was read: where another reader would go on from. */
  get lastSeq(): number {
    return this.#last;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<TurnEvent, void, void> {
    const { transport, turn, signal, sessionId } = this.#source;
    throwIfAborted(signal);
    const turnId = await untilAborted(turn, signal);
    this.#fold ??= new TurnFold(sessionId, turnId);
    let barren = 0;
    let lifeAtMs = performance.now();
    while (!this.#ended) {
      const before = this.#last;
      let failure: BulkheadError | undefined;
      try {
        for await (const event of this.#connect(turnId, () => (lifeAtMs = performance.now()))) {
          this.#fold.add(event);
          yield event;
          // What has come already is not told to who has given up.
          throwIfAborted(signal);
        }
      } catch (error) {
        failure = networkFailure(error, signal).error;
        if (errorEntry(failure.code).retry === 'never') throw failure;
      }
      if (this.#ended) return;
      barren = this.#last > before ? 0 : barren + 1;
      if (barren > barrenMaxCount || performance.now() - lifeAtMs > patienceMs) throw failure ?? cutShort();
      const delayMs = Math.min(delayMaxMs, firstDelayMs * 2 ** barren) * (0.5 + Math.random() / 2);
      await transport.wait(delayMs, signal);
    }
  }

  /** The finished turn; reads what has not been read. Errors: those of a turn that is refused, `server_unreachable`, `cancelled`. How the code failed is in it. */
  async result(): Promise<RunResult> {
    for await (const _event of this);
    const { transport, sessionId, turn, signal } = this.#source;
    if (this.#fromStart && this.#fold !== undefined) return new RunResult(this.#fold.result());
    const params = { session: sessionId, turn: await turn };
    const { result } = await transport.call('getTurn', { params }, signal === undefined ? {} : { signal });
    if (result === null) throw new BulkheadError('internal', 'A turn that has ended has no result.');
    return new RunResult(result);
  }

  /** Interrupts the code; idempotent. The turn ends with `turn_interrupted`, unless it ended before it noticed. */
  async cancel(options: CallOptions = {}): Promise<void> {
    const { transport, sessionId, turn } = this.#source;
    const params = { session: sessionId, turn: await turn };
    await transport.call('cancelTurn', { params }, { ...options, repeatable: true });
  }

  /** One connection: the events that it brings and that are new. */
  async *#connect(turn: TurnId, onLife: () => void): AsyncGenerator<TurnEvent, void, void> {
    const { transport, sessionId, signal } = this.#source;
    const silence = new AbortController();
    const response = await transport.open(
      'listTurnEvents',
      { params: { session: sessionId, turn } },
      {
        accept: 'text/event-stream',
        signal: signal === undefined ? silence.signal : AbortSignal.any([signal, silence.signal]),
        ...(this.#last === 0 ? {} : { headers: { 'last-event-id': String(this.#last) } }),
      },
    );
    onLife();
    if (response.body === null || !isEventStream(response)) throw misunderstood('listTurnEvents', response);
    let timer = setTimeout(() => silence.abort(), silenceMaxMs);
    try {
      for await (const sent of sentEvents(response.body)) {
        onLife();
        clearTimeout(timer);
        timer = setTimeout(() => silence.abort(), silenceMaxMs);
        const event = sent === undefined ? undefined : this.#next(sent, response);
        if (event !== undefined) yield event;
        if (this.#ended) return;
      }
    } catch (error) {
      // A connection that was given up for its silence has only been cut.
      if (silence.signal.aborted && signal?.aborted !== true) return;
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  /** The event, when it is the next one. */
  #next(sent: NonNullable<SentEvent>, response: Response): TurnEvent | undefined {
    const body = parseJson(sent);
    const seq = seqOf(body);
    if (seq === undefined) throw misunderstood('listTurnEvents', response);
    if (seq <= this.#last) return undefined;
    if (seq > this.#last + 1) {
      throw new BulkheadError('server_unreachable', `The stream jumped from event ${this.#last} to ${seq}.`);
    }
    const parsed = routes.listTurnEvents.events.safeParse(body);
    this.#last = seq;
    // A newer server may tell more than we know of.
    if (!parsed.success) return undefined;
    if (parsed.data.type === 'end') this.#ended = true;
    return parsed.data;
  }
}

export function isEventStream(response: Response): boolean {
  return response.headers.get('content-type')?.startsWith('text/event-stream') === true;
}

function seqOf(body: unknown): number | undefined {
  if (typeof body !== 'object' || body === null || !('seq' in body)) return undefined;
  return typeof body.seq === 'number' && Number.isSafeInteger(body.seq) && body.seq > 0 ? body.seq : undefined;
}

function cutShort(): BulkheadError {
  return new BulkheadError('server_unreachable', 'The stream of events is cut again and again.', {
    hint: 'Does a proxy end connections that last? The turn goes on; its events are kept.',
  });
}
