// A session runs one turn at a time, and models call tools side by side: the turns of one connection in one session wait for each other, in order.

import { BulkheadError, type SessionId } from '@bulkhead/protocol';

export class TurnOrder {
  readonly #last = new Map<SessionId, Promise<void>>();

  /** Errors: those of `work`; `cancelled` when the caller gave up before its turn came. */
  async run<T>(session: SessionId, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const before = this.#last.get(session);
    const { promise: done, resolve } = Promise.withResolvers<void>();
    const mine = (before ?? Promise.resolve()).then(() => done);
    this.#last.set(session, mine);
    try {
      await before;
      if (signal.aborted) throw new BulkheadError('cancelled', 'The call was cancelled before it began.');
      return await work();
    } finally {
      resolve();
      if (this.#last.get(session) === mine) this.#last.delete(session);
    }
  }
}
