/**
 * Who may assemble a long message. A stream's credit bounds what it holds; a message longer than the credit needs more, and
 * only the holder of a slot gets it, so that one channel holds a few long messages at once and not one for each stream.
 */
export class AssemblySlots {
  #free: number;
  readonly #waiting = new Set<() => void>();

  constructor(count: number) {
    this.#free = count;
  }

  /** Calls `granted` when a slot is free, perhaps at once. The returned function gives the slot back or stops waiting. */
  acquire(granted: () => void): () => void {
    let state: 'waiting' | 'held' | 'released' = 'waiting';
    const grant = (): void => {
      state = 'held';
      granted();
    };
    if (this.#free > 0) {
      this.#free -= 1;
      grant();
    } else this.#waiting.add(grant);
    return () => {
      if (state === 'waiting') this.#waiting.delete(grant);
      else if (state === 'held') this.#release();
      state = 'released';
    };
  }

  #release(): void {
    for (const next of this.#waiting) {
      this.#waiting.delete(next);
      next();
      return;
    }
    this.#free += 1;
  }
}
