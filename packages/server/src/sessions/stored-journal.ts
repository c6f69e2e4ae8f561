// Keeps sessions and turns in the store, and goes on trying while the store is away.

import { setTimeout as delay } from 'node:timers/promises';
import type { TurnEvent, TurnOutcome } from '@bulkhead/protocol';
import { BulkheadError } from '@bulkhead/protocol';
import type { SessionStore } from '../store/session-store.ts';
import type { SessionJournal, TurnEnd, TurnIntent } from './session-journal.ts';
import type { SessionRecord } from './session-record.ts';
import { toSessionRow } from './stored-sessions.ts';
import type { StoredTurns } from './stored-turns.ts';

const firstRetryMs = 50;
const retryMaxMs = 2000;

export class StoredJournal implements SessionJournal, Disposable {
  readonly #sessions: SessionStore;
  readonly #turns: StoredTurns;
  readonly #closed = new AbortController();

  constructor(sessions: SessionStore, turns: StoredTurns) {
    this.#sessions = sessions;
    this.#turns = turns;
  }

  beginSessions(records: readonly SessionRecord[]): Promise<void> {
    return this.#persist(() => this.#sessions.begin(records.map(toSessionRow)));
  }

  saveSession(record: SessionRecord): Promise<void> {
    return this.#persist(() => this.#sessions.save(toSessionRow(record)));
  }

  startTurn(turn: TurnIntent): Promise<void> {
    return this.#persist(() => this.#turns.start(turn));
  }

  async endTurn(turn: TurnEnd, events: readonly TurnEvent[], outcome: TurnOutcome): Promise<void> {
    try {
      await this.#persist(() => this.#turns.end(turn, events, outcome));
    } finally {
      this.#turns.release(turn.id);
    }
  }

  /** What is still being tried fails with the store's last error. */
  [Symbol.dispose](): void {
    this.#closed.abort();
  }

  async #persist(write: () => Promise<void>): Promise<void> {
    for (let retryMs = firstRetryMs; ; retryMs = Math.min(2 * retryMs, retryMaxMs)) {
      try {
        await write();
        return;
      } catch (error) {
        const away = BulkheadError.is(error) && error.code === 'store_unavailable';
        if (!away || this.#closed.signal.aborted) throw error;
      }
      await delay(retryMs, undefined, { signal: this.#closed.signal }).catch(() => undefined);
    }
  }
}
