// Bytes of one output stream to text, chunk by chunk. A character that is cut by a chunk's end waits for its rest;
// bytes that are no UTF-8 become U+FFFD.

const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
const nothing = new Uint8Array(0);

export class OutputDecoder {
  #tail: Uint8Array = nothing;

  /** Bytes that wait for the rest of their character: at most three. */
  get waitingBytes(): number {
    return this.#tail.length;
  }

  decode(chunk: Uint8Array): string {
    const bytes = this.#tail.length === 0 ? chunk : Buffer.concat([this.#tail, chunk]);
    const waiting = incompleteSuffixBytes(bytes);
    // A copy: the chunk may be a view on a receive buffer that is used again.
    this.#tail = waiting === 0 ? nothing : bytes.slice(bytes.length - waiting);
    return decoder.decode(waiting === 0 ? bytes : bytes.subarray(0, bytes.length - waiting));
  }

  /** What the waiting bytes are when nothing follows them. */
  end(): string {
    const text = decoder.decode(this.#tail);
    this.#tail = nothing;
    return text;
  }
}

/** How many of the last bytes begin a character that is not complete. */
function incompleteSuffixBytes(bytes: Uint8Array): number {
  for (let back = 1; back <= 3 && back <= bytes.length; back += 1) {
    const byte = bytes[bytes.length - back] ?? 0;
    if (byte < 0x80) return 0;
    if (byte < 0xc0) continue;
    const need = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
    return back < need ? back : 0;
  }
  return 0;
}
