import type { Clock } from './clock.ts';

/** Calls `expire` when `work` has not settled in time; the result is that of `work`, which `expire` is expected to settle. */
export async function withDeadline<T>(
  clock: Clock,
  timeoutMs: number,
  expire: () => void,
  work: Promise<T>,
): Promise<T> {
  const cancel = clock.after(timeoutMs, expire);
  try {
    return await work;
  } finally {
    cancel();
  }
}
