/** Wakes whoever waits for "something changed"; the one who wakes looks again at what it waits for. */
export class Notifier {
  readonly #waiters = new Set<() => void>();

  /** Resolves at the next `notify`. */
  wait(): Promise<void> {
    return new Promise((resolve) => {
      this.add(resolve);
    });
  }

  /** Calls `wake` once, at the next `notify`; the returned function takes it back. */
  add(wake: () => void): () => void {
    const waiter = (): void => wake();
    this.#waiters.add(waiter);
    return () => {
      this.#waiters.delete(waiter);
    };
  }

  notify(): void {
    if (this.#waiters.size === 0) return;
    const waiters = [...this.#waiters];
    this.#waiters.clear();
    for (const wake of waiters) wake();
  }
}
