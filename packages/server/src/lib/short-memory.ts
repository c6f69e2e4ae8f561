import type { Clock } from './clock.ts';

export interface ShortMemoryOptions<Value> {
  readonly clock: Clock;
  readonly read: (id: string) => Promise<Value>;
  /** An answer is this old at most. */
  readonly maxAgeMs: number;
  readonly maxCount: number;
}

interface Remembered<Value> {
  readonly value: Promise<Value>;
  readonly readAtMs: number;
}

/** Answers of a moment ago, so that what is asked for again and again is read once in a while. Failures are not remembered. */
export class ShortMemory<Value> {
  readonly #options: ShortMemoryOptions<Value>;
  readonly #remembered = new Map<string, Remembered<Value>>();

  constructor(options: ShortMemoryOptions<Value>) {
    this.#options = options;
  }

  get(id: string): Promise<Value> {
    const { clock, read, maxAgeMs, maxCount } = this.#options;
    // The age counts from before the reading: what changes meanwhile is seen as late as it may be, and no later.
    const readAtMs = clock.nowMs();
    const known = this.#remembered.get(id);
    if (known !== undefined && readAtMs - known.readAtMs < maxAgeMs) return known.value;
    const value = read(id);
    const remembered = { value, readAtMs };
    this.#remembered.delete(id);
    this.#remembered.set(id, remembered);
    value.catch(() => {
      if (this.#remembered.get(id) === remembered) this.#remembered.delete(id);
    });
    for (const oldest of this.#remembered.keys()) {
      if (this.#remembered.size <= maxCount) break;
      this.#remembered.delete(oldest);
    }
    return value;
  }

  /** Who asks from here on is answered anew. */
  forget(id: string): void {
    this.#remembered.delete(id);
  }
}
