// Keeps sessions and turns in the store, and goes on trying while the store is away.

import { setTimeout as delay } from 'node:timers/promises';
import type { TurnEvent, TurnOutcome } from '@bulkhead/protocol';
import { BulkheadError } from '@bulkhead/protocol';
import type { Store } from '../store/store.ts';
import type { SessionJournal, TurnIntent } from './session-journal.ts';
import type { SessionRecord } from './session-record.ts';

const firstRetryMs = 50;
const retryMaxMs = 2000;
/** A turn's start and end are waited for by a caller. */
const turnRetriesMs = 10_000;

export class StoredJournal implements SessionJournal, Disposable {
  readonly #store: Store;
  readonly #closed = new AbortController();

  constructor(store: Store) {
    this.#store = store;
  }

  saveSession(record: SessionRecord): Promise<void> {
    const { id, tenant, state, generation } = record;
    return this.#persist(() => this.#store.saveSession({ id, tenant, state, generation, record }));
  }

  startTurn({ id, session, request }: TurnIntent): Promise<void> {
    const turn = { id, session: session.id, tenant: session.tenant, request };
    return this.#persist(() => this.#store.startTurn(turn), turnRetriesMs);
  }

  endTurn({ id, session }: TurnIntent, events: readonly TurnEvent[], outcome: TurnOutcome): Promise<void> {
    return this.#persist(() => this.#store.endTurn({ id, tenant: session.tenant, outcome }, events), turnRetriesMs);
  }

  /** What is still being tried fails with the store's last error. */
  [Symbol.dispose](): void {
    this.#closed.abort();
  }

  async #persist(write: () => Promise<void>, forMs: number = Number.POSITIVE_INFINITY): Promise<void> {
    const deadline = performance.now() + forMs;
    for (let retryMs = firstRetryMs; ; retryMs = Math.min(2 * retryMs, retryMaxMs)) {
      try {
        await write();
        return;
      } catch (error) {
        const away = BulkheadError.is(error) && error.code === 'store_unavailable';
        if (!away || this.#closed.signal.aborted || performance.now() + retryMs > deadline) throw error;
      }
      await delay(retryMs, undefined, { signal: this.#closed.signal }).catch(() => undefined);
    }
  }
}
