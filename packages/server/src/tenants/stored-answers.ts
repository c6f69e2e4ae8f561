// One answer for a request that is sent twice. The claim of its key is written before the work, the answer after it: a server that is killed between the two
// leaves a key of which nobody knows whether its work was done, and that is what is said.

import { createHash } from 'node:crypto';
import { BulkheadError, type ErrorCode, type ErrorJson, errorEntry, limits } from '@bulkhead/protocol';
import type { Clock } from '../lib/clock.ts';
import type { DayKeys } from '../sealing/day-keys.ts';
import type { IdempotencyKey, IdempotencyRow, IdempotencyStore } from '../store/idempotency-store.ts';
import type { Caller } from './caller.ts';
import { sameHash } from './key-secret.ts';
import type { Answer, Idempotency } from './tenancy.ts';

export interface StoredAnswersOptions {
  readonly store: IdempotencyStore;
  readonly keys: DayKeys;
  readonly clock: Clock;
  /** How long who asks meanwhile waits for the first. */
  readonly waitMs?: number;
}

type Recorded = { readonly answer: Answer } | { readonly error: ErrorJson };

const defaultWaitMs = 30_000;
const firstPollMs = 20;
const pollMaxMs = 500;
/** A longer answer is not kept; that it was given is. */
const answerMaxLength = 1_048_576;
const keyPattern = new RegExp(`^[\\x21-\\x7e]{1,${limits.idempotencyKeyMaxLength}}$`);
/** After these nobody knows how far the work went. */
const unclear: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['internal', 'store_unavailable', 'cancelled']);

/** What makes two requests the same. */
export function fingerprintOf(method: string, path: string, body: Uint8Array): Uint8Array {
  const hash = createHash('sha256');
  return hash
    .update(JSON.stringify([method, path]))
    .update(body)
    .digest();
}

export class StoredAnswers implements Idempotency {
  readonly #options: StoredAnswersOptions;
  /** The requests that are worked on here, each until it has ended. */
  readonly #running = new Map<string, Promise<void>>();

  constructor(options: StoredAnswersOptions) {
    this.#options = options;
  }

  async run(
    { tenant, subject }: Caller,
    key: string,
    fingerprint: Uint8Array,
    work: () => Promise<Answer>,
  ): Promise<Answer> {
    if (!keyPattern.test(key)) {
      throw new BulkheadError(
        'invalid_request',
        `An idempotency key is 1 to ${limits.idempotencyKeyMaxLength} printable ASCII characters without spaces.`,
        { details: { field: 'Idempotency-Key' } },
      );
    }
    const { clock, waitMs = defaultWaitMs } = this.#options;
    const whose = { tenant, subject, key };
    const print = Buffer.from(fingerprint);
    const deadline = clock.nowMs() + waitMs;
    for (let pollMs = firstPollMs; ; pollMs = Math.min(2 * pollMs, pollMaxMs)) {
      const answer = await this.#attempt(whose, print, work);
      if (answer !== undefined) return answer;
      if (clock.nowMs() >= deadline) throw conflict('running');
      const paused = new Promise<void>((resolve) => void clock.after(pollMs, resolve));
      await Promise.race([paused, this.#running.get(idOf(whose)) ?? paused]);
    }
  }

  /** Undefined while somebody else is at it. In this process one at a time gets past the first line. */
  async #attempt(whose: IdempotencyKey, print: Buffer, work: () => Promise<Answer>): Promise<Answer | undefined> {
    const id = idOf(whose);
    if (this.#running.has(id)) return undefined;
    const ended = Promise.withResolvers<void>();
    this.#running.set(id, ended.promise);
    try {
      const row = await this.#options.store.claim(whose, print, limits.idempotencyKeptMs);
      if (row === undefined) return await this.#work(whose, work);
      if (!sameHash(row.fingerprint, print)) throw conflict('other');
      if (row.state === 'done') return await this.#recorded(whose, row);
      // Ours, and nobody here is at it: it ended without being written down.
      if (row.state === 'unknown' || !row.held || row.here) throw conflict('unknown');
      return undefined;
    } finally {
      this.#running.delete(id);
      ended.resolve();
    }
  }

  async #work(whose: IdempotencyKey, work: () => Promise<Answer>): Promise<Answer> {
    const { store } = this.#options;
    try {
      const answer = await work();
      // The work is done, and its caller is told. When that cannot be written down, the next one is told that nobody knows.
      await this.#record(whose, { answer }).catch(() => undefined);
      return answer;
    } catch (error) {
      if (!BulkheadError.is(error) || unclear.has(error.code)) {
        await store.settle(whose, 'unknown', null).catch(() => undefined);
      } else if (errorEntry(error.code).retry === 'never') {
        await this.#record(whose, { error: error.toJSON() }).catch(() => undefined);
      } else await store.giveUp(whose).catch(() => undefined);
      throw error;
    }
  }

  async #record(whose: IdempotencyKey, recorded: Recorded): Promise<void> {
    const { store, keys } = this.#options;
    const text = JSON.stringify(recorded);
    if (text.length > answerMaxLength) {
      await store.settle(whose, 'done', null);
      return;
    }
    const sealedWith = keys.today();
    const answer = await keys.seal({ tenant: whose.tenant, sealedWith, what: `answer ${idOf(whose)}` }, text);
    await store.settle(whose, 'done', { sealedWith, answer });
  }

  async #recorded(whose: IdempotencyKey, { sealedWith, answer }: IdempotencyRow): Promise<Answer> {
    if (answer === null || sealedWith === null) throw conflict('done');
    const what = `answer ${idOf(whose)}`;
    const text = await this.#options.keys.open({ tenant: whose.tenant, sealedWith, what }, answer);
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the store keeps exactly what it was given
    const recorded = JSON.parse(text) as Recorded;
    if ('answer' in recorded) return recorded.answer;
    const { code, message, ...rest } = recorded.error;
    throw new BulkheadError(code, message, rest);
  }
}

function idOf({ tenant, subject, key }: IdempotencyKey): string {
  return JSON.stringify([tenant, subject, key]);
}

const conflicts = {
  other: ['The idempotency key was used for another request.', 'Use a new key for a new request.'],
  running: ['The first request with this key is still being worked on.', 'Ask again with the same key in a moment.'],
  unknown: [
    'A request with this key was begun, and the server ended before it was known how it went.',
    'Look at what is there, then ask with a new key.',
  ],
  done: [
    'The request with this key was answered; the answer was too long to keep.',
    'Look at what is there: it was done once.',
  ],
} as const;

function conflict(state: keyof typeof conflicts): BulkheadError {
  const [message, hint] = conflicts[state];
  return new BulkheadError('idempotency_conflict', message, { hint, details: { state } });
}
