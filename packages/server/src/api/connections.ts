// What stays open (streams of events, terminals, connections to ports): each takes memory for as long as it lasts, so a tenant has so many.

import { BulkheadError, type TenantId, limits } from '@bulkhead/protocol';

export class Connections {
  readonly #open = new Map<TenantId, number>();
  readonly #maxCount: number;

  constructor(maxCount: number = limits.connectionsMaxCount) {
    this.#maxCount = maxCount;
  }

  /** Of all tenants. */
  get count(): number {
    return [...this.#open.values()].reduce((sum, count) => sum + count, 0);
  }

  /** One more, until it is disposed. Errors: `quota_exceeded`. */
  open(tenant: TenantId): Disposable {
    const count = this.#open.get(tenant) ?? 0;
    if (count >= this.#maxCount) {
      throw new BulkheadError('quota_exceeded', `The tenant has ${count} streams open; it may have no more.`, {
        hint: 'Close streams that nobody reads.',
        details: { quota: 'connections', maximum: this.#maxCount, retryAfterMs: 1000 },
      });
    }
    this.#open.set(tenant, count + 1);
    let closed = false;
    return {
      [Symbol.dispose]: () => {
        if (closed) return;
        closed = true;
        const left = (this.#open.get(tenant) ?? 1) - 1;
        if (left === 0) this.#open.delete(tenant);
        else this.#open.set(tenant, left);
      },
    };
  }
}
