// When a session has to be suspended or ended. Measured by the host: what a guest does or says of itself counts for nothing.

import type { Clock } from '../lib/clock.ts';
import type { SessionRecord } from './session-record.ts';

export type Expiry = 'idle' | 'sleep' | 'lifetime';

export interface Deadline {
  readonly expiry: Expiry;
  readonly atUnixMs: number;
}

/** The next deadline of a session; none while it is on the way to another state, where its lifetime waits for a turn to end. */
export function nextDeadline(record: SessionRecord): Deadline | undefined {
  const { state, timeLimits, activeAtUnixMs, createdAtUnixMs } = record;
  if (state !== 'ready' && state !== 'suspended') return undefined;
  const lifetime: Deadline = { expiry: 'lifetime', atUnixMs: createdAtUnixMs + timeLimits.lifetimeMs };
  const quiet: Deadline =
    state === 'ready'
      ? { expiry: 'idle', atUnixMs: activeAtUnixMs + timeLimits.idleMs }
      : { expiry: 'sleep', atUnixMs: activeAtUnixMs + timeLimits.sleepMs };
  return quiet.atUnixMs < lifetime.atUnixMs ? quiet : lifetime;
}

/** A timer's longest delay in Node; a later deadline is looked at again then. */
const delayMaxMs = 2_147_483_647;

/** Calls back when the deadline of the record that it was shown last has passed. */
export class TimeLimit {
  readonly #clock: Clock;
  readonly #onExpired: (expiry: Expiry) => void;
  #cancel: () => void = () => undefined;

  constructor(clock: Clock, onExpired: (expiry: Expiry) => void) {
    this.#clock = clock;
    this.#onExpired = onExpired;
  }

  show(record: SessionRecord): void {
    this.#cancel();
    const deadline = nextDeadline(record);
    if (deadline === undefined) return;
    const delayMs = Math.max(0, deadline.atUnixMs - this.#clock.unixMs());
    this.#cancel = this.#clock.after(Math.min(delayMs, delayMaxMs), () => {
      if (delayMs > delayMaxMs) this.show(record);
      else this.#onExpired(deadline.expiry);
    });
  }

  stop(): void {
    this.#cancel();
  }
}
