// Whether this server takes sessions: the store answers, and what a session of the usual size needs is made. What fails is tried again, and told
// meanwhile.

import { setTimeout as delay } from 'node:timers/promises';
import { BulkheadError, defaultSize } from '@bulkhead/protocol';
import type { Readiness } from './api/service.ts';
import type { Runtime } from './runtimes/runtime.ts';

export interface PreparationOptions {
  readonly runtime: Runtime;
  /** Rejects when the store does not answer. */
  readonly askStore: () => Promise<unknown>;
  readonly onProgress: (message: string) => void;
}

const askStoreEveryMs = 5000;
const prepareAgainAfterMs = 30_000;

export class Preparation implements Disposable {
  /** When everything was ready for the first time; never rejects. */
  readonly ready: Promise<void>;
  readonly #options: PreparationOptions;
  readonly #closed = new AbortController();
  readonly #ready = Promise.withResolvers<void>();
  #preparing: string | undefined = 'The machine template is being looked for.';
  #unprepared: string | undefined;
  #storeProblem: string | undefined;
  #stopping = false;

  constructor(options: PreparationOptions) {
    this.#options = options;
    this.ready = this.#ready.promise;
    void this.#prepare();
    void this.#followStore();
  }

  get readiness(): Readiness {
    if (this.#stopping) return { status: 'stopping', reasons: ['The server is stopping.'] };
    const problems = [this.#storeProblem, this.#unprepared].filter((problem) => problem !== undefined);
    if (problems.length > 0) return { status: 'unavailable', reasons: problems };
    if (this.#preparing !== undefined) return { status: 'starting', reasons: [this.#preparing] };
    return { status: 'ready', reasons: [] };
  }

  /** From here on it says that it is stopping. */
  stop(): void {
    this.#stopping = true;
    this[Symbol.dispose]();
  }

  async #prepare(): Promise<void> {
    const { signal } = this.#closed;
    while (!signal.aborted) {
      try {
        await this.#options.runtime.prepare(defaultSize, {
          signal,
          onProgress: (message) => {
            this.#preparing = message;
            this.#options.onProgress(message);
          },
        });
        this.#preparing = undefined;
        this.#unprepared = undefined;
        if (this.#storeProblem === undefined) this.#ready.resolve();
        return;
      } catch (error) {
        this.#unprepared = wordsOf(error);
        if (!signal.aborted) this.#options.onProgress(`${this.#unprepared} It is tried again.`);
      }
      await this.#wait(prepareAgainAfterMs);
    }
  }

  async #followStore(): Promise<void> {
    const { signal } = this.#closed;
    while (!signal.aborted) {
      try {
        await this.#options.askStore();
        this.#storeProblem = undefined;
        if (this.#preparing === undefined) this.#ready.resolve();
      } catch (error) {
        this.#storeProblem = wordsOf(error);
      }
      await this.#wait(askStoreEveryMs);
    }
  }

  async #wait(delayMs: number): Promise<void> {
    await delay(delayMs, undefined, { signal: this.#closed.signal, ref: false }).catch(() => undefined);
  }

  [Symbol.dispose](): void {
    this.#closed.abort();
  }
}

/** For anybody who asks: no more than the catalogue's own words. */
function wordsOf(error: unknown): string {
  return BulkheadError.is(error) ? `${error.code}: ${error.message}` : 'internal: Something failed; see the log.';
}
