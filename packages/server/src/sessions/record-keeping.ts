// Has the records of one session kept, each after the one before, without holding up whoever changes it.

import { BulkheadError } from '@bulkhead/protocol';
import type { Clock } from '../lib/clock.ts';
import { type SessionJournal, isRefusal } from './session-journal.ts';
import type { SessionRecord } from './session-record.ts';

export interface RecordKeepingOptions {
  /** Without it nothing is kept. */
  readonly journal: SessionJournal | undefined;
  /** Its first record is being kept, with those that were made with it. */
  readonly begun: Promise<void>;
  readonly clock: Clock;
  /** Another process has the session by now. */
  readonly onLost: () => void;
}

/** How long a caller waits for the store before it is told that the store is away. */
const durableTimeoutMs = 10_000;

export class RecordKeeping {
  readonly #options: RecordKeepingOptions;
  #kept: Promise<void>;

  constructor(options: RecordKeepingOptions) {
    this.#options = options;
    this.#kept = options.begun;
    this.#kept.catch(() => undefined);
  }

  /** Resolves when everything so far is kept. Errors: `state_conflict`, those of `SessionJournal.beginSessions`. */
  get kept(): Promise<void> {
    return this.#kept;
  }

  keep(record: SessionRecord): void {
    const { journal } = this.#options;
    if (journal !== undefined) this.#follow(this.#kept.then(() => journal.saveSession(record)));
  }

  /**
   * Keeps a record by way of `write`, which keeps more than the record; where that cannot be kept, the record alone. Without a record, only the more.
   * Errors: those of `write`, after which the session goes on; those of `durable`.
   */
  keepWith(record: SessionRecord | null, write: (journal: SessionJournal) => Promise<void>): Promise<void> {
    return this.#keepOr(write, async (error, journal) => {
      if (BulkheadError.is(error) && error.code === 'state_conflict') throw error;
      if (record !== null) await journal.saveSession(record);
    });
  }

  /** Keeps a record that the tenant's quotas may refuse; `before` is then kept in its place, so that the generations have no gap. Errors: `isRefusal`, those of `durable`. */
  keepUnlessRefused(record: SessionRecord, before: SessionRecord): Promise<void> {
    return this.#keepOr(
      (journal) => journal.saveSession(record),
      async (error, journal) => {
        if (!isRefusal(error)) throw error;
        await journal.saveSession({ ...before, generation: record.generation });
      },
    );
  }

  /** What comes after follows `write`, or what `instead` keeps when that fails. Errors: those of `write`, of `durable`. */
  async #keepOr(
    write: (journal: SessionJournal) => Promise<void>,
    instead: (error: unknown, journal: SessionJournal) => Promise<void>,
  ): Promise<void> {
    const { journal } = this.#options;
    if (journal === undefined) return;
    const asked = this.#kept.then(() => write(journal));
    this.#follow(asked.catch((error: unknown) => instead(error, journal)));
    await this.durable();
    await asked;
  }

  /** The same as `kept`, for a caller that does not wait for ever. Errors: `store_unavailable`, those of `kept`. */
  async durable(): Promise<void> {
    const late = Promise.withResolvers<never>();
    const cancel = this.#options.clock.after(durableTimeoutMs, () =>
      late.reject(
        new BulkheadError('store_unavailable', 'The store does not answer; what was asked for may still be done.', {
          hint: 'Look at the session again in a moment.',
        }),
      ),
    );
    try {
      await Promise.race([this.#kept, late.promise]);
    } finally {
      cancel();
    }
  }

  #follow(kept: Promise<void>): void {
    this.#kept = kept;
    kept.catch(() => this.#options.onLost());
  }
}
