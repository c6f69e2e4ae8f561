// What a client that lost its stream is sent again: the last messages of a connection, for a short time and within bounds, those of all connections together
// included. A message that is no longer here is not made up: the client is told that it cannot be replayed.

import type { EventId, EventStore, StreamId } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import type { JSONRPCMessage } from '@modelcontextprotocol/sdk/types.js';
import type { Clock } from '../../lib/clock.ts';
import { mcpLimits } from './mcp-limits.ts';

/** Shared by all connections of a server. */
export interface EventBudget {
  usedBytes: number;
}

interface KeptEvent {
  readonly id: EventId;
  readonly stream: StreamId;
  /** Undefined for the event that begins a stream, which has none. */
  readonly message: JSONRPCMessage | undefined;
  readonly bytes: number;
  readonly storedAtMs: number;
}

export class EventMemory implements EventStore, Disposable {
  readonly #clock: Clock;
  readonly #budget: EventBudget;
  #events: KeptEvent[] = [];
  #bytes = 0;
  #count = 0;
  #closed = false;

  constructor(clock: Clock, budget: EventBudget) {
    this.#clock = clock;
    this.#budget = budget;
  }

  async storeEvent(stream: StreamId, message: JSONRPCMessage): Promise<EventId> {
    this.#count += 1;
    const id = `${this.#count}`;
    if (this.#closed) return id;
    const begins = !('jsonrpc' in message);
    const bytes = begins ? 64 : 64 + 2 * JSON.stringify(message).length;
    this.#events.push({ id, stream, message: begins ? undefined : message, bytes, storedAtMs: this.#clock.nowMs() });
    this.#add(bytes);
    this.forgetOld();
    return id;
  }

  /** Whether what followed it can be sent again. */
  has(id: EventId): boolean {
    return this.#events.some((event) => event.id === id);
  }

  /** Whoever comes back takes the stream over: the server may not have seen yet that the client was cut off. */
  async replayEventsAfter(
    last: EventId,
    { send }: { send: (id: EventId, message: JSONRPCMessage) => Promise<void> },
  ): Promise<StreamId> {
    const from = this.#events.findIndex((event) => event.id === last);
    const stream = this.#events[from]?.stream;
    if (stream === undefined) throw new Error('the event is not kept any more');
    for (const { id, message, stream: of } of this.#events.slice(from + 1)) {
      if (of === stream && message !== undefined) await send(id, message);
    }
    return stream;
  }

  /** What is too old or too much goes, the oldest first. */
  forgetOld(): void {
    const beforeMs = this.#clock.nowMs() - mcpLimits.eventsKeptMs;
    while (this.#events.length > 0 && this.#isOver(this.#events[0]?.storedAtMs ?? 0, beforeMs)) {
      const [first] = this.#events.splice(0, 1);
      this.#add(-(first?.bytes ?? 0));
    }
  }

  #isOver(oldestMs: number, beforeMs: number): boolean {
    return (
      oldestMs <= beforeMs ||
      this.#events.length > mcpLimits.eventsMaxCount ||
      this.#bytes > mcpLimits.eventsMaxBytes ||
      this.#budget.usedBytes > mcpLimits.allEventsMaxBytes
    );
  }

  #add(bytes: number): void {
    this.#bytes += bytes;
    this.#budget.usedBytes += bytes;
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    this.#events = [];
    this.#add(-this.#bytes);
  }
}
