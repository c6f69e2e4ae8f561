// A template's memory as machines map it: an anonymous file, filled once, then sealed, so that neither a broken-out VMM nor we
// can ever change what later machines start from. One copy a tenant: pages that two tenants share are a side channel.

import { close, closeSync, ftruncateSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { copyData, createMemory, sealMemory, sealMemorySize } from '../../lib/host-calls.ts';

/** Memory of a machine's size. It can be mapped from the start; a processor may run on it only once it is sealed. */
export interface TemplateMemory {
  readonly fd: number;
  /** Settles when the template is in it and nobody can write to it any more; rejects when that failed. */
  readonly sealed: Promise<void>;
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

async function fillAndSeal(path: string, memory: number, sizeBytes: number): Promise<void> {
  await using file = await open(path, 'r');
  await copyData(file.fd, memory, sizeBytes);
  sealMemory(memory);
}

/** What a tenant's machines start from, while somebody holds it. */
export interface MemoryLease extends TemplateMemory, Disposable {}

interface Entry {
  readonly memory: TemplateMemory;
  users: number;
}

/** The copies of one template's memory, one a tenant, loaded when first asked for. Copies that nobody uses are kept for the next session, but not many. */
export class TenantMemories {
  readonly #load: () => TemplateMemory;
  readonly #idleMaxCount: number;
  /** The one that was asked for last comes last. */
  readonly #entries = new Map<string, Entry>();

  constructor(load: () => TemplateMemory, idleMaxCount = 2) {
    this.#load = load;
    this.#idleMaxCount = idleMaxCount;
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
      if (this.#entries.get(tenant) === entry) this.#dropIdle(this.#idleMaxCount);
      else if (entry.users === 0) letGo(entry);
    };
    return { ...entry.memory, [Symbol.dispose]: release };
  }

  #add(tenant: string): Entry {
    const entry: Entry = { memory: this.#load(), users: 0 };
    // Whoever holds it sees the failure; the next one gets another.
    entry.memory.sealed.catch(() => {
      if (this.#entries.get(tenant) !== entry) return;
      this.#entries.delete(tenant);
      if (entry.users === 0) letGo(entry);
    });
    return entry;
  }

  /** Lets go of all; the caller's machines have ended. */
  close(): void {
    this.#dropIdle(0);
  }

  #dropIdle(keptCount: number): void {
    const idle = [...this.#entries].filter(([, { users }]) => users === 0);
    for (const [tenant, entry] of idle.slice(0, Math.max(0, idle.length - keptCount))) {
      this.#entries.delete(tenant);
      letGo(entry);
    }
  }
}

/** Not while it is being filled: the descriptor's number could be somebody else's by then. Giving so much memory back takes longer than a turn, so in a thread of the pool. */
function letGo({ memory: { fd, sealed } }: Entry): void {
  const closeFd = (): void => close(fd, () => undefined);
  sealed.then(closeFd, closeFd);
}
