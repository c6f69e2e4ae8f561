import { BulkheadError } from '@bulkhead/protocol';
import type { ChannelStream } from './stream.ts';
import type { Inbound } from './inbox.ts';

/**
 * What a stream receives, to be read once. The guest waits while nobody reads. Leaving early throws away what is still to
 * come, so that the outcome settles all the same; `leave` says what else that does.
 */
export function iterate<Item>(
  stream: ChannelStream<unknown>,
  convert: (inbound: Inbound) => Item,
  leave: () => void = () => stream.discard(),
): AsyncIterable<Item> {
  let isTaken = false;
  const iterator: AsyncIterator<Item> = {
    async next() {
      const inbound = await stream.read();
      return inbound === undefined
        ? { done: true, value: undefined }
        : { done: false, value: stream.parse(() => convert(inbound)) };
    },
    async return() {
      leave();
      return { done: true, value: undefined };
    },
  };
  return {
    [Symbol.asyncIterator]() {
      if (isTaken) throw new BulkheadError('state_conflict', `The output of ${stream.spec.op} can be read once`);
      isTaken = true;
      return iterator;
    },
  };
}

/** What an operation that could not begin gives: every read throws `failure`. */
export function iterateFailure<Item>(failure: Error): AsyncIterable<Item> {
  const iterator: AsyncIterator<Item> = {
    async next() {
      throw failure;
    },
  };
  return { [Symbol.asyncIterator]: () => iterator };
}
