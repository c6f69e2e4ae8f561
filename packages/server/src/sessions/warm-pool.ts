// Machines that are launched before anybody asks for them. How many is decided by what was asked for lately: as many as were wanted
// within the time that it takes to launch them anew. The pool holds `SpareMachine`s and nothing else, so what has not confirmed an identity
// cannot be claimed, and what was claimed cannot come back.

import { BulkheadError, type SizeName, type TenantId } from '@bulkhead/protocol';
import type { Clock } from '../lib/clock.ts';
import type { LaunchSpec, Machine, Runtime, SpareMachine } from '../runtimes/runtime.ts';
import type { LaunchQueue } from './launch-queue.ts';

export interface PoolBounds {
  /** Held ready for a tenant and size for as long as there is any demand, at least. */
  readonly minCount: number;
  /** Held ready at most, for all tenants and sizes together. 0: there is no pool. */
  readonly maxCount: number;
}

export interface WarmPoolOptions extends PoolBounds {
  readonly clock: Clock;
  /** Shared with the launches that somebody waits for. */
  readonly queue: LaunchQueue;
}

/** Demand is what was asked for within this time. */
export const demandMs = 600_000;
/** What is asked for within this time cannot be made anew in between. */
export const burstMs = 5000;
/** A machine that was claimed is replaced when its session has had its first moments on the processors. */
export const refillDelayMs = 250;
/** More demands than this say no more than this many. */
const demandsMaxCount = 1000;
/** How often spare machines that nobody seems to need are looked for. */
const reviewMs = 15_000;
const retryMs = 1000;
const retryMaxMs = 60_000;

/** What is ready of one runtime's for one tenant, or for all, in one size. */
interface Shelf {
  readonly runtime: Runtime;
  readonly tenant: TenantId | null;
  readonly size: SizeName;
  readonly spares: Set<SpareMachine>;
  /** When machines were asked for, on the clock's `nowMs`. */
  demands: readonly number[];
}

export class WarmPool implements AsyncDisposable {
  readonly #options: WarmPoolOptions;
  readonly #shelves = new Map<string, Shelf>();
  readonly #closing = new AbortController();
  #filling: Promise<void> | undefined;
  /** The next look at the shelves, on the clock's `nowMs`. */
  #review: { readonly atMs: number; readonly cancel: () => void } | undefined;
  #notBeforeMs = 0;
  #retryMs = retryMs;

  constructor(options: WarmPoolOptions) {
    this.#options = options;
  }

  /** Machines that are ready. */
  get count(): number {
    return [...this.#shelves.values()].reduce((sum, { spares }) => sum + spares.size, 0);
  }

  /** A machine made the session's, or none when none is ready: never waits for one. Errors: `cancelled`. */
  async claim(
    runtime: Runtime,
    spec: LaunchSpec,
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<Machine | undefined> {
    const shelf = this.#demand(runtime, spec);
    if (shelf === undefined) return undefined;
    this.#reviewAfter(refillDelayMs);
    for (const spare of shelf.spares) {
      shelf.spares.delete(spare);
      try {
        return await spare.claim(spec, options);
      } catch (error) {
        if (!BulkheadError.is(error, 'machine_lost')) throw error;
      }
    }
    return undefined;
  }

  /** Lets go of every machine, for one that somebody waits for and that the host has no room for. Whether there were any. */
  async giveWay(): Promise<boolean> {
    const given = [...this.#shelves.values()].flatMap(({ spares }) => takeAll(spares));
    this.#notBeforeMs = this.#options.clock.nowMs() + retryMaxMs;
    this.#review?.cancel();
    this.#review = undefined;
    this.#reviewAfter(0);
    await dispose(given);
    return given.length > 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new BulkheadError('cancelled', 'The pool was closed.'));
    this.#review?.cancel();
    await this.#filling;
    await dispose([...this.#shelves.values()].flatMap(({ spares }) => takeAll(spares)));
  }

  #demand(runtime: Runtime, { tenant, size }: LaunchSpec): Shelf | undefined {
    const { clock, maxCount } = this.#options;
    const { runtime: name, spares: kind } = runtime.capabilities;
    if (kind === 'none' || maxCount === 0 || this.#closing.signal.aborted) return undefined;
    const whose = kind === 'shared' ? null : tenant;
    const key = `${name} ${whose ?? 'shared'} ${size}`;
    const shelf = this.#shelves.get(key) ?? { runtime, tenant: whose, size, spares: new Set(), demands: [] };
    this.#shelves.set(key, shelf);
    const now = clock.nowMs();
    shelf.demands = [...shelf.demands.filter((at) => now - at < demandMs), now].slice(-demandsMaxCount);
    return shelf;
  }

  #reviewAfter(delayMs: number): void {
    const { clock } = this.#options;
    const now = clock.nowMs();
    const atMs = Math.max(now + delayMs, this.#notBeforeMs);
    if (this.#closing.signal.aborted || (this.#review?.atMs ?? Number.POSITIVE_INFINITY) <= atMs) return;
    this.#review?.cancel();
    const cancel = clock.after(atMs - now, () => {
      this.#review = undefined;
      this.#filling ??= this.#level().finally(() => (this.#filling = undefined));
    });
    this.#review = { atMs, cancel };
  }

  /** Makes what is ready what is wanted: first fewer, then more, one at a time, because others wait for theirs. Never rejects. */
  async #level(): Promise<void> {
    try {
      for (const [key, shelf] of this.#shelves) {
        const surplus = [...shelf.spares].slice(this.#wanted(shelf));
        for (const spare of surplus) shelf.spares.delete(spare);
        await dispose(surplus);
        if (this.#wanted(shelf) === 0 && shelf.spares.size === 0) this.#shelves.delete(key);
      }
      for (let shelf = this.#mostWanting(); shelf !== undefined; shelf = this.#mostWanting()) await this.#add(shelf);
      this.#retryMs = retryMs;
      if (this.#shelves.size > 0) this.#reviewAfter(reviewMs);
    } catch {
      // Whoever needs a machine is told what is wrong by the launch of its own.
      this.#reviewAfter(this.#retryMs);
      this.#retryMs = Math.min(2 * this.#retryMs, retryMaxMs);
    }
  }

  async #add({ runtime, tenant, size, spares }: Shelf): Promise<void> {
    const { queue } = this.#options;
    const { signal } = this.#closing;
    using _place = await queue.enter(signal, tenant);
    const spare = await runtime.launchSpare({ tenant, size }, { signal });
    spares.add(spare);
    void spare.exited.then(() => spares.delete(spare));
  }

  #mostWanting(): Shelf | undefined {
    const { clock, maxCount } = this.#options;
    const paused = this.#closing.signal.aborted || clock.nowMs() < this.#notBeforeMs;
    if (paused || this.count >= maxCount) return undefined;
    const lacking = (shelf: Shelf): number => this.#wanted(shelf) - shelf.spares.size;
    const [first] = [...this.#shelves.values()].toSorted((one, other) => lacking(other) - lacking(one));
    return first !== undefined && lacking(first) > 0 ? first : undefined;
  }

  #wanted({ demands }: Shelf): number {
    const { clock, minCount, maxCount } = this.#options;
    const now = clock.nowMs();
    const recent = demands.filter((at) => now - at < demandMs);
    if (recent.length === 0) return 0;
    return Math.min(Math.max(peak(recent), minCount), maxCount);
  }
}

/** The most that were asked for within `burstMs`. `times` ascends. */
function peak(times: readonly number[]): number {
  let most = 0;
  let first = 0;
  for (const [last, at] of times.entries()) {
    while (at - (times[first] ?? at) >= burstMs) first += 1;
    most = Math.max(most, last - first + 1);
  }
  return most;
}

function takeAll(spares: Set<SpareMachine>): readonly SpareMachine[] {
  const all = [...spares];
  spares.clear();
  return all;
}

async function dispose(spares: readonly SpareMachine[]): Promise<void> {
  await Promise.all(spares.map((spare) => spare[Symbol.asyncDispose]()));
}
