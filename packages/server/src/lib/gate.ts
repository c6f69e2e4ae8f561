/** Lets so many in at once. The others wait, and their owners take turns: of one owner's, whoever came first. */
export class Gate {
  /** The owner whose turn is next comes first; none is without somebody who waits. */
  readonly #waiting = new Map<string, Set<() => void>>();
  #free: number;

  constructor(places: number) {
    this.#free = places;
  }

  /** A place, given back when it is disposed of; a second time changes nothing. Rejects with the signal's reason. */
  async enter(signal: AbortSignal, owner: string): Promise<Disposable> {
    signal.throwIfAborted();
    if (this.#free > 0) this.#free -= 1;
    else await this.#wait(signal, owner);
    let left = false;
    return {
      [Symbol.dispose]: () => {
        if (!left) this.#leave();
        left = true;
      },
    };
  }

  #wait(signal: AbortSignal, owner: string): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const onAbort = (): void => {
      if (this.#remove(owner, resolve)) reject(signal.reason);
    };
    signal.addEventListener('abort', onAbort, { once: true });
    this.#waiting.set(owner, (this.#waiting.get(owner) ?? new Set()).add(resolve));
    return promise.finally(() => signal.removeEventListener('abort', onAbort));
  }

  #remove(owner: string, resolve: () => void): boolean {
    const queue = this.#waiting.get(owner);
    const removed = queue?.delete(resolve) ?? false;
    if (queue?.size === 0) this.#waiting.delete(owner);
    return removed;
  }

  #leave(): void {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#free += 1;
      return;
    }
    const [owner, queue] = next;
    const [first] = queue;
    // The owner's next turn comes after that of all others.
    this.#waiting.delete(owner);
    if (queue.size > 1) this.#waiting.set(owner, queue);
    if (first === undefined) throw new TypeError('an owner in the queue has somebody who waits');
    queue.delete(first);
    first();
  }
}
