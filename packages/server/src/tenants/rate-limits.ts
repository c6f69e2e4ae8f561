import { BulkheadError, type TenantId, limits } from '@bulkhead/protocol';
import type { Clock } from '../lib/clock.ts';

interface Bucket {
  readonly tokens: number;
  readonly atMs: number;
}

/** What was not used lately may be used at once: so many seconds of it. */
const burstSeconds = 3;
const tenantsMaxCount = 10_000;

/** How many requests each tenant makes of this server: a token bucket for each. */
export class RateLimits {
  readonly #clock: Clock;
  readonly #buckets = new Map<TenantId, Bucket>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Errors: `rate_limited`, with the time after which there is one again. */
  take(tenant: TenantId, perSecond: number): void {
    if (perSecond >= limits.quotaMaximum) return;
    const atMs = this.#clock.nowMs();
    const capacity = burstSeconds * perSecond;
    const before = this.#buckets.get(tenant) ?? { tokens: capacity, atMs };
    const tokens = Math.min(capacity, before.tokens + ((atMs - before.atMs) / 1000) * perSecond);
    this.#buckets.delete(tenant);
    this.#buckets.set(tenant, { tokens: tokens < 1 ? tokens : tokens - 1, atMs });
    for (const oldest of this.#buckets.keys()) {
      if (this.#buckets.size <= tenantsMaxCount) break;
      this.#buckets.delete(oldest);
    }
    if (tokens >= 1) return;
    const retryAfterMs = perSecond === 0 ? 60_000 : Math.ceil(((1 - tokens) / perSecond) * 1000);
    throw new BulkheadError('rate_limited', `The tenant may make ${perSecond} requests a second.`, {
      hint: `Wait ${retryAfterMs} ms.`,
      details: { maximum: perSecond, retryAfterMs },
    });
  }
}
