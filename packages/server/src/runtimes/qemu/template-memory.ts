// A template's memory as machines map it: an anonymous file, filled once, then sealed, so that neither a broken-out VMM nor we
// can ever change what later machines start from. One copy a tenant: pages that two tenants share are a side channel.

import { close, closeSync, ftruncateSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { type Extent, copyData, createMemory, sealMemory, sealMemorySize } from '../../lib/host-calls.ts';

/** Memory of a machine's size. It can be mapped from the start; a processor may run on it only once it is sealed. */
export interface TemplateMemory {
  readonly fd: number;
  /** Settles, with where it holds something, when the template is in it and nobody can write to it any more; rejects when that failed. */
  readonly sealed: Promise<readonly Extent[]>;
}

/** A copy of the sparse file at `path`; the caller closes it when `sealed` has settled. */
export function loadTemplateMemory(path: string, sizeBytes: number): TemplateMemory {
  const fd = createMemory('bulkhead-template');
  try {
    ftruncateSync(fd, sizeBytes);
    sealMemorySize(fd);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  return { fd, sealed: fillAndSeal(path, fd, sizeBytes) };
}

async function fillAndSeal(path: string, memory: number, sizeBytes: number): Promise<readonly Extent[]> {
  await using file = await open(path, 'r');
  const extents = await copyData(file.fd, memory, sizeBytes);
  sealMemory(memory);
  return extents;
}

/** What a tenant's machines start from, while somebody holds it. */
export interface MemoryLease extends TemplateMemory, Disposable {}

interface Entry {
  readonly memory: TemplateMemory;
  users: number;
  /** On the clock of `performance`. */
  usedAtMs: number;
}

export interface IdleBounds {
  /** Copies that nobody uses, at most. */
  readonly maxCount: number;
  /** Of these, so many for as long as nothing else needs the memory, and the others for so long. */
  readonly keptCount: number;
  readonly keptMs: number;
}

/**
 * The copies of one template's memory, one a tenant, loaded when first asked for. Loading one takes longer than all else that a launch does, so those that
 * nobody uses are kept for the next session: many between the sessions of a busy tenant, few for longer.
 */
export class TenantMemories {
  readonly #load: () => TemplateMemory;
  readonly #idle: IdleBounds;
  /** The one that was asked for last comes last. */
  readonly #entries = new Map<string, Entry>();
  #review: NodeJS.Timeout | undefined;

  constructor(load: () => TemplateMemory, idle: IdleBounds) {
    this.#load = load;
    this.#idle = idle;
  }

  acquire(tenant: string): MemoryLease {
    const entry = this.#entries.get(tenant) ?? this.#add(tenant);
    this.#entries.delete(tenant);
    this.#entries.set(tenant, entry);
    entry.users++;
    let held = true;
    const release = (): void => {
      if (!held) return;
      held = false;
      entry.users--;
      entry.usedAtMs = performance.now();
      if (this.#entries.get(tenant) === entry) this.#released();
      else if (entry.users === 0) void letGo(entry);
    };
    return { ...entry.memory, [Symbol.dispose]: release };
  }

  #add(tenant: string): Entry {
    const entry: Entry = { memory: this.#load(), users: 0, usedAtMs: performance.now() };
    // Whoever holds it sees the failure; the next one gets another.
    entry.memory.sealed.catch(() => {
      if (this.#entries.get(tenant) !== entry) return;
      this.#entries.delete(tenant);
      if (entry.users === 0) void letGo(entry);
    });
    return entry;
  }

  /** Lets go of all; the caller's machines have ended. */
  close(): void {
    clearTimeout(this.#review);
    void this.#drop(0, 0);
  }

  /** Lets go of what nobody uses, for what needs the memory now. Whether there was any. */
  async giveWay(): Promise<boolean> {
    return (await this.#drop(0, 0)) > 0;
  }

  #released(): void {
    const { maxCount, keptCount, keptMs } = this.#idle;
    void this.#drop(maxCount, 0);
    if (this.#review !== undefined || this.#idleEntries().length <= keptCount) return;
    this.#review = setTimeout(() => {
      this.#review = undefined;
      void this.#drop(keptCount, keptMs);
      this.#released();
    }, keptMs);
    this.#review.unref();
  }

  #idleEntries(): readonly (readonly [tenant: string, entry: Entry])[] {
    return [...this.#entries].filter(([, { users }]) => users === 0);
  }

  /** All but so many of those that have not been used for so long; when they are gone, how many. */
  async #drop(keptCount: number, unusedMs: number): Promise<number> {
    const idle = this.#idleEntries();
    const latestMs = performance.now() - unusedMs;
    const dropped = idle
      .slice(0, Math.max(0, idle.length - keptCount))
      .filter(([, { usedAtMs }]) => usedAtMs <= latestMs);
    for (const [tenant] of dropped) this.#entries.delete(tenant);
    await Promise.all(dropped.map(([, entry]) => letGo(entry)));
    return dropped.length;
  }
}

/** Not while it is being filled: the descriptor's number could be somebody else's by then. Giving so much memory back takes longer than a turn, so in a thread of the pool. */
async function letGo({ memory: { fd, sealed } }: Entry): Promise<void> {
  await sealed.catch(() => undefined);
  await new Promise<void>((resolve) => {
    close(fd, () => resolve());
  });
}
