// What can be written to a file, as the body of a request. The server wants to know the length first.

import { BulkheadError } from '@bulkhead/protocol';

/** A stream is read once: its request is not repeated. */
export type Content = string | Uint8Array | ArrayBuffer | Blob | ReadableStream<Uint8Array> | AsyncIterable<Uint8Array>;

export interface Upload {
  readonly body: Blob | Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array>;
  /** Where `fetch` does not know it. */
  readonly lengthBytes?: number;
}

/** What a stream of unknown length may hold: it is gathered in memory. */
const gatheredMaxBytes = 268_435_456;

/**
 * `sizeBytes` is the length of a stream, which is then sent as it comes; a browser cannot do that, and needs a `Blob`.
 * Errors: `invalid_request`; `limit_exceeded` for a long stream of unknown length.
 */
export async function toUpload(content: Content, sizeBytes: number | undefined): Promise<Upload> {
  if (sizeBytes !== undefined && !(Number.isSafeInteger(sizeBytes) && sizeBytes >= 0)) {
    throw new BulkheadError('invalid_request', 'sizeBytes has to be a whole number of bytes.');
  }
  if (typeof content === 'string') return whole(new TextEncoder().encode(content));
  if (content instanceof Uint8Array) return whole(content);
  if (content instanceof ArrayBuffer) return whole(new Uint8Array(content));
  if (content instanceof Blob) return { body: content };
  if (sizeBytes === 0) return whole(new Uint8Array());
  if (sizeBytes === undefined) return { body: await gather(content) };
  const body = content instanceof ReadableStream ? content : streamOf(content);
  return { body, lengthBytes: sizeBytes };
}

/** Memory that threads share cannot be sent as it is. */
function whole(bytes: Uint8Array): Upload {
  return { body: bytes.buffer instanceof ArrayBuffer ? (bytes as Uint8Array<ArrayBuffer>) : new Uint8Array(bytes) }; // oxlint-disable-line typescript/no-unsafe-type-assertion -- it has just been checked
}

async function gather(content: AsyncIterable<Uint8Array> | ReadableStream<Uint8Array>): Promise<Blob> {
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  let bytes = 0;
  for await (const chunk of chunksOf(content)) {
    bytes += chunk.length;
    if (bytes > gatheredMaxBytes) {
      throw new BulkheadError(
        'limit_exceeded',
        `A stream of unknown length may have at most ${gatheredMaxBytes} bytes.`,
        { hint: 'Give its length in `sizeBytes`, or a Blob.' },
      );
    }
    chunks.push(new Uint8Array(chunk));
  }
  return new Blob(chunks);
}

/** The chunks of a stream. Not every browser can iterate one. */
export async function* chunksOf(
  content: AsyncIterable<Uint8Array> | ReadableStream<Uint8Array>,
): AsyncGenerator<Uint8Array, void, void> {
  if (!(content instanceof ReadableStream)) {
    yield* content;
    return;
  }
  const reader = content.getReader();
  let ended = false;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      ended = done;
      if (done) return;
      yield value;
    }
  } finally {
    // Whoever leaves early lets go of the connection.
    if (!ended) await reader.cancel().catch(() => undefined);
    reader.releaseLock();
  }
}

function streamOf(content: AsyncIterable<Uint8Array>): ReadableStream<Uint8Array> {
  const iterator = content[Symbol.asyncIterator]();
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { done, value } = await iterator.next();
      if (done === true) controller.close();
      else controller.enqueue(value);
    },
    async cancel() {
      await iterator.return?.();
    },
  });
}
