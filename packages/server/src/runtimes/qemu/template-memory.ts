// A template's memory as machines map it: an anonymous file, filled once, then sealed, so that neither a broken-out VMM nor we
// can ever change what later machines start from. One copy a tenant: pages that two tenants share are a side channel.

import { spawn } from 'node:child_process';
import { closeSync, ftruncateSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { createMemory, sealMemory } from '../../lib/host-calls.ts';

/** Fills and seals a copy of the sparse file at `path`; returns its descriptor, which the caller closes. */
export async function loadSealedMemory(path: string, sizeBytes: number): Promise<number> {
  const memory = createMemory('bulkhead-template');
  try {
    await copyFile(path, memory);
    ftruncateSync(memory, sizeBytes);
    sealMemory(memory);
    return memory;
  } catch (error) {
    closeSync(memory);
    throw error;
  }
}

/** What a tenant's machines start from, while somebody holds it. */
export interface MemoryLease extends Disposable {
  readonly fd: number;
}

interface Entry {
  readonly memory: Promise<number>;
  users: number;
}

/** The copies of one template's memory, one a tenant, loaded when first asked for. Copies that nobody uses are kept for the next session, but not many. */
export class TenantMemories {
  readonly #load: () => Promise<number>;
  readonly #idleMaxCount: number;
  /** The one that was asked for last comes last. */
  readonly #entries = new Map<string, Entry>();

  constructor(load: () => Promise<number>, idleMaxCount = 2) {
    this.#load = load;
    this.#idleMaxCount = idleMaxCount;
  }

  async acquire(tenant: string): Promise<MemoryLease> {
    const entry = this.#entries.get(tenant) ?? { memory: this.#load(), users: 0 };
    this.#entries.delete(tenant);
    this.#entries.set(tenant, entry);
    entry.users++;
    let held = true;
    const release = (): void => {
      if (!held) return;
      held = false;
      entry.users--;
      this.#dropIdle(this.#idleMaxCount);
    };
    try {
      return { fd: await entry.memory, [Symbol.dispose]: release };
    } catch (error) {
      this.#entries.delete(tenant);
      throw error;
    }
  }

  /** Lets go of all; the caller's machines have ended. */
  close(): void {
    this.#dropIdle(0);
  }

  #dropIdle(keptCount: number): void {
    const idle = [...this.#entries].filter(([, { users }]) => users === 0);
    for (const [tenant, { memory }] of idle.slice(0, Math.max(0, idle.length - keptCount))) {
      this.#entries.delete(tenant);
      void memory.then(closeSync, () => undefined);
    }
  }
}

/** By cp: it keeps the holes, does not hold up the event loop, and takes half the time of as many calls from here. */
async function copyFile(path: string, memory: number): Promise<void> {
  const child = spawn('cp', ['--sparse=auto', '--', path, '/proc/self/fd/3'], {
    stdio: ['ignore', 'ignore', 'pipe', memory],
  });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  const [exitCode, words] = await Promise.all([ended, child.stderr === null ? '' : text(child.stderr)]);
  if (exitCode !== 0) throw new Error(`the template's memory could not be read: ${words.trim()}`);
}
