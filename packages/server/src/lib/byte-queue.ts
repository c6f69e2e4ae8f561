// A queue of bytes whose memory stays in proportion to its length, however the bytes arrive: a small view of a large
// buffer is copied, since keeping it would keep the whole buffer; a view that is most of its buffer is kept as it is.

import { Fifo } from './fifo.ts';

interface Block {
  readonly bytes: Buffer;
  start: number;
  end: number;
  /** Whether this queue made the buffer, so that what follows `end` is free to be filled. */
  readonly owned: boolean;
}

const blockMinBytes = 1024;
const blockMaxBytes = 16_384;

export class ByteQueue {
  readonly #blocks = new Fifo<Block>();
  #length = 0;

  get length(): number {
    return this.#length;
  }

  append(bytes: Buffer): void {
    if (bytes.length === 0) return;
    this.#length += bytes.length;
    if (bytes.length * 2 >= bytes.buffer.byteLength) {
      this.#blocks.push({ bytes, start: 0, end: bytes.length, owned: false });
      return;
    }
    let rest = bytes;
    const tail = this.#blocks.peekLast();
    if (tail?.owned === true && tail.end < tail.bytes.length) {
      const copied = rest.copy(tail.bytes, tail.end);
      tail.end += copied;
      rest = rest.subarray(copied);
    }
    if (rest.length === 0) return;
    const capacity = Math.max(rest.length, Math.min(blockMaxBytes, (tail?.bytes.length ?? blockMinBytes / 2) * 2));
    const block = { bytes: Buffer.allocUnsafeSlow(capacity), start: 0, end: rest.length, owned: true };
    rest.copy(block.bytes);
    this.#blocks.push(block);
  }

  /** At least one and at most `maxBytes` bytes from the front, without a copy; empty when the queue is. */
  take(maxBytes: number): Buffer {
    const block = this.#blocks.peek();
    if (block === undefined) return Buffer.alloc(0);
    const size = Math.min(maxBytes, block.end - block.start);
    const taken = block.bytes.subarray(block.start, block.start + size);
    block.start += size;
    this.#length -= size;
    // A block with room left stays as the tail: what was handed out lies before the part that is filled next.
    if (block.start === block.end) this.#blocks.shift();
    return taken;
  }

  /** Exactly `size` bytes from the front in one piece; the queue must hold as many. */
  takeExactly(size: number): Buffer {
    const first = this.take(size);
    if (first.length === size) return first;
    const whole = Buffer.allocUnsafeSlow(size);
    let filled = first.copy(whole);
    while (filled < size) {
      const piece = this.take(size - filled);
      if (piece.length === 0) throw new RangeError(`the queue holds fewer than ${size} bytes`);
      filled += piece.copy(whole, filled);
    }
    return whole;
  }

  /** Takes all of another queue's bytes, without a copy. */
  takeAllOf(other: ByteQueue): void {
    for (let block = other.#blocks.shift(); block !== undefined; block = other.#blocks.shift())
      this.#blocks.push(block);
    this.#length += other.#length;
    other.#length = 0;
  }

  clear(): void {
    this.#blocks.clear();
    this.#length = 0;
  }
}
