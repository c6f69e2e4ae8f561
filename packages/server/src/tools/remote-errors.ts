// How a call to something elsewhere ends when it does not end well.

import { BulkheadError } from '@bulkhead/protocol';
import type { ToolResult } from './tool.ts';

export interface CallBounds {
  /** Aborted when nobody waits any more. */
  readonly signal: AbortSignal;
  readonly timeoutMs: number;
}

/** `work` within the time, the bytes of its result included. Errors: `cancelled`, `tool_timeout`, those of `work`. */
export async function inTime(
  { signal, timeoutMs }: CallBounds,
  work: (bounded: AbortSignal) => Promise<ToolResult>,
): Promise<ToolResult> {
  const late = new BulkheadError('tool_timeout', `The tool took longer than ${timeoutMs} ms.`);
  const deadline = new AbortController();
  const timer = setTimeout(() => deadline.abort(late), timeoutMs).unref();
  const bounded = AbortSignal.any([signal, deadline.signal]);
  const end = (): void => clearTimeout(timer);
  try {
    const result = await work(bounded);
    if (result.kind === 'value') end();
    return result.kind === 'value' ? result : { ...result, bytes: untilEnd(result.bytes, bounded, end) };
  } catch (error) {
    end();
    throw unreachable(error, bounded);
  }
}

async function* untilEnd(
  bytes: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
  end: () => void,
): AsyncGenerator<Uint8Array, void, void> {
  try {
    yield* bytes;
  } catch (error) {
    throw unreachable(error, signal);
  } finally {
    end();
  }
}

/** What a connection failed with, as a guest may know it: not where it went, nor why it did not get there. */
export function unreachable(error: unknown, signal: AbortSignal): BulkheadError {
  if (BulkheadError.is(error)) return error;
  if (signal.aborted) {
    const reason: unknown = signal.reason;
    return BulkheadError.is(reason) ? reason : new BulkheadError('cancelled', 'The call was given up.');
  }
  return new BulkheadError('tool_failed', 'What is behind the tool cannot be reached, or broke off.', {
    hint: 'An operator can look at its address and at what it may resolve to.',
    cause: error,
  });
}
