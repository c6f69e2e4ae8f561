// Ctrl-C at any moment: the first one stops what is being done (a launch, a turn, a copy), the second ends everything.

import { BulkheadError } from '@bulkhead/protocol';

export class Interrupts {
  readonly #ended = new AbortController();
  #handler: (() => void) | undefined;
  #interrupted = false;

  /** Aborted when everything has to end. */
  get ended(): AbortSignal {
    return this.#ended.signal;
  }

  /** Whether anybody has asked for anything to stop since the last `during` began. */
  get interrupted(): boolean {
    return this.#interrupted;
  }

  /** `handler` takes the first interrupt until the answer is disposed; then the one before it does again. */
  during(handler: () => void): Disposable {
    const outer = this.#handler;
    this.#handler = handler;
    this.#interrupted = false;
    return {
      [Symbol.dispose]: () => {
        this.#handler = outer;
      },
    };
  }

  interrupt(): void {
    if (this.#handler === undefined || this.#interrupted) this.end();
    else {
      this.#interrupted = true;
      this.#handler();
    }
  }

  end(): void {
    this.#interrupted = true;
    this.#ended.abort(new BulkheadError('cancelled', 'Stopped by a signal.'));
  }
}
