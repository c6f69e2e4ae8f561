// Which machine is launched next, and which new session is told to come back instead. Tenants take turns, so that one that asks for many
// machines waits for its own; and whoever would wait for longer than is sensible is refused before anything is written down about it.

import { BulkheadError, type TenantId } from '@bulkhead/protocol';
import type { Clock } from '../lib/clock.ts';
import { Gate } from '../lib/gate.ts';

export interface LaunchQueueOptions {
  readonly clock: Clock;
  /** Machines that are launched at once. */
  readonly places: number;
  /** A new session that would wait for longer is refused; none is without it. */
  readonly waitMaxMs?: number;
}

/** How much the launch that ended last says of how long the next ones take. */
const newestWeight = 0.2;
/** Those who are refused come back so much later, at most: clients of ours wait no longer. */
const retryAfterMaxMs = 30_000;

export class LaunchQueue {
  readonly #options: LaunchQueueOptions;
  readonly #gate: Gate;
  /** New sessions that have no machine yet, of each tenant that has any. */
  readonly #admitted = new Map<TenantId, number>();
  /** How long a launch takes, as the last ones had it. */
  #launchMs = 0;

  constructor(options: LaunchQueueOptions) {
    this.#options = options;
    this.#gate = new Gate(options.places);
  }

  /** Counts so many new sessions of a tenant until it is disposed of, once. Errors: `capacity_exhausted`, with the time after which to ask again. */
  admit(tenant: TenantId, count: number): Disposable {
    const { waitMaxMs = Number.POSITIVE_INFINITY } = this.#options;
    const waitMs = this.#waitMs(tenant);
    if (waitMs > waitMaxMs) throw tooManyWait(waitMs);
    this.#count(tenant, count);
    let counted = true;
    return {
      [Symbol.dispose]: () => {
        if (counted) this.#count(tenant, -count);
        counted = false;
      },
    };
  }

  /** A place among the machines that are being launched, given back when it is disposed of. Rejects with the signal's reason. */
  async enter(signal: AbortSignal, owner: TenantId | null): Promise<Disposable> {
    const place = await this.#gate.enter(signal, owner ?? 'nobody');
    const { clock } = this.#options;
    const startedMs = clock.nowMs();
    let left = false;
    return {
      [Symbol.dispose]: () => {
        if (left) return;
        left = true;
        const tookMs = clock.nowMs() - startedMs;
        this.#launchMs = this.#launchMs === 0 ? tookMs : this.#launchMs + newestWeight * (tookMs - this.#launchMs);
        place[Symbol.dispose]();
      },
    };
  }

  /** Until another machine of the tenant's would be begun with, as tenants take turns. */
  #waitMs(tenant: TenantId): number {
    const own = this.#admitted.get(tenant) ?? 0;
    let ahead = own;
    for (const [other, count] of this.#admitted) if (other !== tenant) ahead += Math.min(count, own + 1);
    const { places } = this.#options;
    return (Math.max(0, ahead + 1 - places) / places) * this.#launchMs;
  }

  #count(tenant: TenantId, change: number): void {
    const count = (this.#admitted.get(tenant) ?? 0) + change;
    if (count > 0) this.#admitted.set(tenant, count);
    else this.#admitted.delete(tenant);
  }
}

function tooManyWait(waitMs: number): BulkheadError {
  const retryAfterMs = Math.min(Math.ceil(waitMs / 2), retryAfterMaxMs);
  return new BulkheadError(
    'capacity_exhausted',
    `Other machines are launched first: a new one would wait for ${Math.ceil(waitMs / 1000)} s.`,
    {
      hint: `Try again in ${Math.ceil(retryAfterMs / 1000)} s, or have fewer sessions begin at once.`,
      details: { retryAfterMs, waitMs: Math.ceil(waitMs) },
    },
  );
}
