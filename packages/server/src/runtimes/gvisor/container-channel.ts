// The byte stream to a machine's agent, which stays the same while the container behind it is replaced: to write a container out, runsc ends it,
// and a new one goes on from what was written, with streams of its own.

import { Duplex, type Readable, type Writable } from 'node:stream';

interface Ends {
  readonly input: Writable;
  readonly output: Readable;
}

export class ContainerChannel extends Duplex {
  #ends: Ends | undefined;
  #detached: Ends | undefined;
  /** A write that waits for a container. */
  #waiting: (() => void) | undefined;

  constructor(ends: Ends) {
    super({ allowHalfOpen: false });
    this.attach(ends);
  }

  /** From here on these are the channel. */
  attach(ends: Ends): void {
    this.#ends = ends;
    const current = (): boolean => this.#ends === ends;
    const { input, output } = ends;
    output.on('data', (chunk: Buffer) => {
      if (current() && !this.push(chunk)) output.pause();
    });
    output.on('end', () => current() && this.push(null));
    for (const stream of [input, output]) {
      // The end of the output says it; a channel that breaks is one that ended.
      stream.on('error', () => current() && this.push(null));
    }
    this.#go();
  }

  /** The container behind it is about to end, and another will take its place: `attach`. Should it live on, `reattach`. */
  detach(): void {
    this.#detached = this.#ends;
    this.#ends = undefined;
  }

  reattach(): void {
    this.#ends ??= this.#detached;
    this.#go();
  }

  #go(): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.();
  }

  override _read(): void {
    this.#ends?.output.resume();
  }

  override _write(chunk: Buffer, encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    if (this.#ends === undefined) {
      this.#waiting = (): void => this._write(chunk, encoding, done);
      return;
    }
    this.#ends.input.write(chunk, (error) => done(error));
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    for (const ends of [this.#ends, this.#detached]) {
      ends?.input.destroy();
      ends?.output.destroy();
    }
    this.#ends = undefined;
    this.#detached = undefined;
    done(error);
  }
}
