// What goes on after its caller has given up: the end of a session that came too late, the interrupt of a turn. A client that is
// disposed waits for it.

export class Background implements AsyncDisposable {
  readonly #running = new Set<Promise<void>>();

  /** Nobody is left who could be told how it failed. */
  run(work: Promise<unknown>): void {
    const done = this.#settled(work);
    this.#running.add(done);
    void done.finally(() => this.#running.delete(done));
  }

  async #settled(work: Promise<unknown>): Promise<void> {
    await Promise.allSettled([work]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }
}
