// Has a file written to its disk while more of it is being made. A disk may keep what it is sent in a cache of its own until it is told to flush, so a
// file that is synced only at its end has most of its way to go then.

import { closeSync, fdatasync, openSync } from 'node:fs';

/** Of an open file. What fails here fails again in the sync of whoever relies on it: the kernel tells an error once to everyone who has opened the file. */
export class BackgroundSync implements Disposable {
  /** An opening of its own, for that reason. */
  readonly #fd: number;
  #running = 0;
  #disposed = false;

  constructor(fd: number) {
    this.#fd = openSync(`/proc/self/fd/${fd}`, 'r+');
  }

  /** What has been written so far. */
  start(): void {
    this.#running++;
    fdatasync(this.#fd, () => {
      this.#running--;
      this.#closeWhenDone();
    });
  }

  [Symbol.dispose](): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#closeWhenDone();
  }

  #closeWhenDone(): void {
    if (this.#disposed && this.#running === 0) closeSync(this.#fd);
  }
}
