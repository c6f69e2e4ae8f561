// Giving up: what a caller's signal does to a wait.

import { BulkheadError } from '@bulkhead/protocol';

export function cancelled(signal: AbortSignal | undefined): BulkheadError {
  return new BulkheadError('cancelled', 'The caller gave up.', { cause: signal?.reason });
}

/** Errors: `cancelled`. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw cancelled(signal);
}

/** What becomes of `promise`, or `cancelled` as soon as the signal is aborted; `promise` goes on by itself then. */
export async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return await promise;
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => aborted.reject(cancelled(signal));
  if (signal.aborted) onAbort();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

/** Errors: `cancelled`. */
export async function sleep(delayMs: number, signal: AbortSignal | undefined): Promise<void> {
  const over = Promise.withResolvers<void>();
  const timer = setTimeout(() => over.resolve(), delayMs);
  try {
    await untilAborted(over.promise, signal);
  } finally {
    clearTimeout(timer);
  }
}
