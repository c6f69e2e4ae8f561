// Calls of tools that guest code makes: `calls` of docs/channel.md. The host keeps one stream open; what the guest says on it are requests, and every
// one of them is answered, in whatever order. Nothing is decided here.

import { BulkheadError, type ErrorJson } from '@bulkhead/protocol';
import { channelLimits } from './channel-limits.ts';
import { ProtocolViolation, lanes } from './frame.ts';
import { parseMessage } from './json.ts';
import { callMessageSchema, nothingSchema } from './messages.ts';
import type { Mux } from './mux.ts';
import type { ChannelStream } from './stream.ts';

export interface GuestCall {
  readonly tool: string;
  readonly operation: string;
  /** As guest code wrote them; nobody has looked at them. */
  readonly argumentBytes: Uint8Array;
  /** Aborted when nobody waits for the answer any more. */
  readonly signal: AbortSignal;
}

/** `file`: the result lies at that path in the guest. */
export type CallAnswer =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: true; readonly file: string; readonly contentType: string; readonly size: number }
  | { readonly ok: false; readonly error: ErrorJson };

export interface GuestCalls {
  /** Tells the guest what tools there are; what it may do with them is decided call by call. */
  announce(catalogue: unknown): void;
}

/** Answers what guest code asks until the epoch ends. `handle` must not reject. */
export function serveCalls(mux: Mux, handle: (call: GuestCall) => Promise<CallAnswer>): GuestCalls {
  if (mux.countStanding('calls') > 0) {
    throw new BulkheadError('state_conflict', 'Calls of this guest are answered already');
  }
  const calls = new Calls(mux, handle);
  return { announce: (catalogue) => calls.tell({ catalogue }) };
}

class Calls {
  readonly #mux: Mux;
  readonly #handle: (call: GuestCall) => Promise<CallAnswer>;
  readonly #stream: ChannelStream<unknown>;
  readonly #underWay = new Map<number, AbortController>();
  #lastCall = 0;
  #told: Promise<unknown> = Promise.resolve();

  constructor(mux: Mux, handle: (call: GuestCall) => Promise<CallAnswer>) {
    this.#mux = mux;
    this.#handle = handle;
    this.#stream = mux.open({
      op: 'calls',
      parameters: {},
      result: nothingSchema,
      lanes: [lanes.events],
      standing: { kind: 'calls', isBusy: () => this.#underWay.size > 0 },
    });
    void this.#listen().catch(() => undefined);
  }

  /** A line for the guest, after those before it. What it does not take any more is nobody's loss. */
  tell(message: object): void {
    let line = Buffer.from(`${JSON.stringify(message)}\n`);
    if (line.length > channelLimits.callAnswerMaxBytes) line = Buffer.from(`${JSON.stringify(tooLarge(message))}\n`);
    this.#told = this.#told.then(() => this.#stream.write(line)).catch(() => undefined);
  }

  async #listen(): Promise<void> {
    try {
      for (;;) {
        const inbound = await this.#stream.read();
        if (inbound === undefined) return;
        this.#stream.parse(() => this.#take(inbound.bytes));
      }
    } finally {
      for (const controller of this.#underWay.values()) controller.abort();
    }
  }

  #take(bytes: Buffer): void {
    const message = parseMessage(bytes, callMessageSchema, 'message of calls');
    if (message.type === 'cancel') {
      this.#underWay.get(message.call)?.abort();
      return;
    }
    if (message.call !== this.#lastCall + 1)
      throw new ProtocolViolation('calls are numbered from 1, one after the other');
    if (this.#underWay.size >= channelLimits.callsMaxCount) throw new ProtocolViolation('too many calls at once');
    this.#lastCall = message.call;
    const controller = new AbortController();
    this.#underWay.set(message.call, controller);
    const { call, tool, operation } = message;
    // Half a surrogate pair has no bytes: the arguments are refused as not UTF-8, not repaired.
    const argumentBytes = message.arguments.isWellFormed() ? Buffer.from(message.arguments) : Buffer.from([0xff]);
    void this.#answer(call, { tool, operation, argumentBytes, signal: controller.signal });
  }

  async #answer(call: number, request: GuestCall): Promise<void> {
    const answer = await this.#handle(request).catch((error: unknown): CallAnswer => ({
      ok: false,
      error: asError(error),
    }));
    this.#underWay.delete(call);
    this.#mux.touch();
    this.tell({ call, ...answer });
  }
}

function asError(error: unknown): ErrorJson {
  return BulkheadError.is(error) ? error.toJSON() : { code: 'internal', message: 'The call failed.' };
}

/** In place of an answer that is too large for a line. */
function tooLarge(message: object): object {
  const error: ErrorJson = {
    code: 'limit_exceeded',
    message: `The result has more than ${channelLimits.callAnswerMaxBytes} bytes.`,
    hint: 'Ask for less at once.',
  };
  return 'call' in message ? { call: message.call, ok: false, error } : { catalogue: { tools: [] } };
}
