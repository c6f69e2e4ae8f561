// Server-sent events: one at a time from where they are kept, as fast as the client takes them, so that a slow reader makes nothing grow.

import { Readable } from 'node:stream';
import type { EventStream, ServerSentEvent } from './handler.ts';

/** Often enough for what stands between client and server to keep the connection. */
export const heartbeatMs = 15_000;
/** After a cut, a client waits so long. */
const retryMs = 500;

/** Aborting `signal` ends it without an end: the client comes back with the last id that it has. */
export function encodeEvents({ events }: EventStream, signal: AbortSignal): Readable {
  return Readable.from(encode(events, signal), { objectMode: false, highWaterMark: 65_536 });
}

async function* encode(
  events: AsyncIterable<ServerSentEvent>,
  signal: AbortSignal,
): AsyncGenerator<Buffer, void, void> {
  const iterator = events[Symbol.asyncIterator]();
  const ended = Promise.withResolvers<'ended'>();
  const onAbort = (): void => ended.resolve('ended');
  if (signal.aborted) onAbort();
  signal.addEventListener('abort', onAbort, { once: true });
  const beat = new Heartbeat();
  try {
    yield Buffer.from(`retry: ${retryMs}\n\n`);
    for (let next = iterator.next(); ;) {
      const first = await Promise.race([next, beat.wait(), ended.promise]);
      if (first === 'ended') return;
      if (first === 'beat') {
        yield Buffer.from(': still here\n\n');
        continue;
      }
      if (first.done === true) return;
      yield encodeEvent(first.value);
      next = iterator.next();
    }
  } finally {
    beat.stop();
    signal.removeEventListener('abort', onAbort);
    // What waits for an event that does not come leaves by the same signal.
    void Promise.resolve(iterator.return?.()).catch(() => undefined);
  }
}

/** JSON has no line break outside of its strings, and none inside. */
function encodeEvent({ id, type, data }: ServerSentEvent): Buffer {
  const place = id === undefined ? '' : `id: ${id}\n`;
  return Buffer.from(`${place}event: ${type}\ndata: ${JSON.stringify(data)}\n\n`);
}

class Heartbeat {
  #timer: NodeJS.Timeout | undefined;
  #waiting = Promise.withResolvers<'beat'>();

  wait(): Promise<'beat'> {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#waiting.resolve('beat');
      this.#waiting = Promise.withResolvers();
    }, heartbeatMs);
    return this.#waiting.promise;
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}
