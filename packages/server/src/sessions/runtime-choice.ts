// Which of this host's runtimes a session gets, and whether it may still have the one that it has.

import { BulkheadError, type RuntimeName, type TenantId, type Tier } from '@bulkhead/protocol';
import { type Absence, type Minima, type Plan, place, plan } from '../placement/place.ts';
import type { Runtime } from '../runtimes/runtime.ts';

export interface RuntimeChoiceOptions {
  /** Those that can be used; of two that isolate alike the first is preferred. */
  readonly runtimes: readonly Runtime[];
  /** Those that cannot, and why. */
  readonly absences?: readonly Absence[];
  /** What no session may be below, whatever it asks for: this host's rule, and the tenant's. Asked at every launch. */
  readonly minimaOf?: (tenant: TenantId) => Omit<Minima, 'session'>;
}

interface Asked {
  readonly tenant: TenantId;
  readonly runtime?: RuntimeName;
  readonly minimumTier?: Tier;
}

export class RuntimeChoice {
  readonly #runtimes: ReadonlyMap<RuntimeName, Runtime>;
  readonly #absences: readonly Absence[];
  readonly #minimaOf: (tenant: TenantId) => Omit<Minima, 'session'>;

  constructor({ runtimes, absences = [], minimaOf = () => ({}) }: RuntimeChoiceOptions) {
    this.#runtimes = new Map(runtimes.map((runtime) => [runtime.capabilities.runtime, runtime]));
    this.#absences = absences;
    this.#minimaOf = minimaOf;
  }

  /** Errors: `tier_unavailable`, `host_unsupported`. */
  place(asked: Asked): Runtime {
    return this.find(place(this.#request(asked), this.#offers, this.#absences));
  }

  /** What `place` would choose, and why. */
  plan(asked: Asked): Plan {
    return plan(this.#request(asked), this.#offers, this.#absences);
  }

  /** Errors: `host_unsupported` when this host has no such runtime, or none that can be used. */
  find(name: RuntimeName): Runtime {
    const found = this.#runtimes.get(name);
    if (found !== undefined) return found;
    const why = this.#absences.find(({ runtime }) => name === runtime)?.why ?? 'It was not opened.';
    throw new BulkheadError('host_unsupported', `The session runs on ${name}, which cannot be used here. ${why}`, {
      hint: '`bulkhead doctor` says what is missing; BULKHEAD_RUNTIME=auto opens every runtime that can be used.',
      details: { runtime: name },
    });
  }

  /** What is required of a session's machine now. */
  minima({ tenant, minimumTier = 'none' }: Pick<Asked, 'tenant' | 'minimumTier'>): Minima {
    const minima = this.#minimaOf(tenant);
    return minimumTier === 'none' ? minima : { ...minima, session: minimumTier };
  }

  #request(asked: Asked): { readonly runtime: RuntimeName | undefined; readonly minima: Minima } {
    return { runtime: asked.runtime, minima: this.minima(asked) };
  }

  get #offers(): readonly Runtime['capabilities'][] {
    return [...this.#runtimes.values()].map(({ capabilities }) => capabilities);
  }
}
