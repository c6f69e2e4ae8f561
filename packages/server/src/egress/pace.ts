import type { Clock } from '../lib/clock.ts';

export interface PaceBounds {
  readonly perSecond: number;
  readonly atOnceMaxCount: number;
  readonly waitingMaxCount: number;
}

/** Lets so many through in a second, after so many at once. */
export class Pace {
  readonly #clock: Clock;
  readonly #bounds: PaceBounds;
  /** When the next one would be due, were none let through early. */
  #dueMs = -Infinity;
  #waiting = 0;

  constructor(clock: Clock, bounds: PaceBounds) {
    this.#clock = clock;
    this.#bounds = bounds;
  }

  /** False at once where too many wait already. */
  async turn(): Promise<boolean> {
    const { perSecond, atOnceMaxCount, waitingMaxCount } = this.#bounds;
    const stepMs = 1000 / perSecond;
    const nowMs = this.#clock.nowMs();
    const waitMs = Math.max(this.#dueMs, nowMs - atOnceMaxCount * stepMs) + stepMs - nowMs;
    if (waitMs > 0 && this.#waiting >= waitingMaxCount) return false;
    this.#dueMs = nowMs + waitMs;
    if (waitMs <= 0) return true;
    this.#waiting += 1;
    await new Promise<void>((resolve) => void this.#clock.after(waitMs, resolve));
    this.#waiting -= 1;
    return true;
  }
}
