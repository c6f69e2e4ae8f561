// Who is attached to a session from outside, in a terminal or through a port: they have gone before their session is put to sleep, which it cannot be with
// somebody at work in it.

export class Attachments {
  readonly #closing = new AbortController();
  readonly #held = new Set<PromiseWithResolvers<void>>();

  /** Aborted when the server is about to put sessions to sleep. */
  get closing(): AbortSignal {
    return this.#closing.signal;
  }

  /** Until it is disposed. */
  hold(): Disposable {
    const held = Promise.withResolvers<void>();
    this.#held.add(held);
    return {
      [Symbol.dispose]: () => {
        this.#held.delete(held);
        held.resolve();
      },
    };
  }

  /** Tells all of them to go, and waits until they have, or for so long. */
  async close(timeoutMs: number): Promise<void> {
    this.#closing.abort();
    const late = Promise.withResolvers<void>();
    const timer = setTimeout(late.resolve, timeoutMs);
    await Promise.race([Promise.all([...this.#held].map(({ promise }) => promise)), late.promise]);
    clearTimeout(timer);
  }
}
