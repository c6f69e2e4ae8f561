import { BulkheadError } from '@bulkhead/protocol';
import type { ChannelStream } from './stream.ts';

/** The next of `source`, or undefined when the stream stops first. */
async function nextUnlessStopped(
  source: AsyncIterator<Uint8Array>,
  stream: ChannelStream<unknown>,
): Promise<IteratorResult<Uint8Array, unknown> | undefined> {
  const { promise, resolve, reject } = Promise.withResolvers<IteratorResult<Uint8Array, unknown> | undefined>();
  let forget: (() => void) | undefined;
  const watch = (): void => {
    if (stream.isStopped) resolve(undefined);
    else forget = stream.onChange(watch);
  };
  watch();
  source.next().then(resolve, reject);
  try {
    return await promise;
  } finally {
    forget?.();
  }
}

/**
 * Sends a source as the stream's input, as fast as the guest takes it, and ends it. `check` sees how many bytes there are,
 * and throws to refuse them before they are sent. Stops quietly when the stream stops: its outcome says why. The source is
 * told when it is not read to its end, and is not waited for then.
 */
export async function sendInput(
  stream: ChannelStream<unknown>,
  content: AsyncIterable<Uint8Array>,
  check: (totalBytes: number, isEnd: boolean) => void = () => {},
): Promise<void> {
  const source = content[Symbol.asyncIterator]();
  let total = 0;
  let isDone = false;
  try {
    for (;;) {
      const next = await nextUnlessStopped(source, stream);
      if (next === undefined) return;
      if (next.done === true) break;
      total += next.value.length;
      check(total, false);
      if (!(await stream.write(next.value))) return;
    }
    isDone = true;
    check(total, true);
    await stream.write(new Uint8Array(), true);
  } catch (error) {
    if (BulkheadError.is(error)) throw error;
    throw new BulkheadError('upload_incomplete', 'The source of the input failed', { cause: error });
  } finally {
    // A source that is waiting for its own next byte answers only when that comes.
    if (!isDone) source.return?.().catch(() => {});
  }
}
