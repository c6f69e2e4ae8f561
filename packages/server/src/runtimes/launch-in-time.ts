// A launch, or a part of one, that is given up when its caller does or when it takes too long; and why one failed, as errors that a caller
// can act on.

import { BulkheadError, limits } from '@bulkhead/protocol';
import { errnoOf } from '../lib/errno.ts';

/** Errors: `cancelled`, `launch_timeout`, `launch_failed`, `disk_full`, and those of snapshots, which say themselves what is wrong. */
export async function launchInTime<T>(
  given: AbortSignal | undefined,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const timeout = AbortSignal.timeout(limits.launchTimeoutMs);
  const signal = given === undefined ? timeout : AbortSignal.any([given, timeout]);
  try {
    signal.throwIfAborted();
    return await work(signal);
  } catch (error) {
    throw describeLaunchFailure(error, given, timeout);
  }
}

function describeLaunchFailure(error: unknown, signal: AbortSignal | undefined, timeout: AbortSignal): BulkheadError {
  if (signal?.aborted === true) return new BulkheadError('cancelled', 'The launch was cancelled.', { cause: error });
  // Nobody but we have been in it: one that does not answer has not been given the processor.
  if (timeout.aborted || BulkheadError.is(error, 'guest_unresponsive')) {
    const message = 'The machine was not ready in time.';
    return new BulkheadError('launch_timeout', message, {
      hint: 'Try again when the host is less busy.',
      details: { retryAfterMs: limits.launchTimeoutMs },
      cause: error,
    });
  }
  if (errnoOf(error) === 'ENOSPC') {
    return new BulkheadError('disk_full', 'There is no space for the machine.', { cause: error });
  }
  // A snapshot that is refused says so itself.
  if (BulkheadError.is(error) && error.code.startsWith('snapshot_')) return error;
  const detail = error instanceof Error ? error.message : String(error);
  return new BulkheadError('launch_failed', `The machine could not be launched: ${detail}`, {
    hint: 'Run `bulkhead doctor` to see what this host lacks.',
    cause: error,
  });
}

/** Rejects when the signal is aborted, for work that cannot be told to stop. */
export function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}

/** Why a machine that runs on could not be written out. */
export function describeCaptureFailure(error: unknown): BulkheadError {
  if (BulkheadError.is(error)) return error;
  if (errnoOf(error) === 'ENOSPC') {
    return new BulkheadError('disk_full', 'There is no space for the snapshot; the session goes on.', {
      hint: 'Free space where Bulkhead keeps its state, then try again.',
      cause: error,
    });
  }
  return new BulkheadError('internal', 'The machine could not be written out; the session goes on.', { cause: error });
}
