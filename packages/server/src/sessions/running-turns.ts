// How many sessions run a turn now, for whoever has to wait until there is none.

import type { SessionId } from '@bulkhead/protocol';
import type { Clock } from '../lib/clock.ts';
import type { SessionRecord } from './session-record.ts';

export class RunningTurns {
  readonly #clock: Clock;
  readonly #busy = new Set<SessionId>();
  readonly #waiting = new Set<() => void>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get count(): number {
    return this.#busy.size;
  }

  /** Every record, after each of its transitions. */
  show({ id, state }: SessionRecord): void {
    if (state === 'busy') this.#busy.add(id);
    else this.#busy.delete(id);
    if (this.#busy.size === 0) for (const wake of this.#waiting) wake();
  }

  /** Whether there is none, at latest after `timeoutMs`; or when `hurry` is aborted. */
  async none(timeoutMs: number, hurry: AbortSignal): Promise<boolean> {
    if (this.#busy.size === 0) return true;
    const done = Promise.withResolvers<void>();
    const wake = (): void => done.resolve();
    const cancel = this.#clock.after(timeoutMs, wake);
    this.#waiting.add(wake);
    hurry.addEventListener('abort', wake, { once: true });
    if (hurry.aborted) wake();
    await done.promise;
    cancel();
    this.#waiting.delete(wake);
    hurry.removeEventListener('abort', wake);
    return this.#busy.size === 0;
  }
}
