// One builder at a time in one cache.

import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { tryLock } from '../lib/file-lock.ts';

const retryMs = 100;

/**
 * Waits until no other process or caller holds the lock file; disposing lets go. `onWait` is called once when there is someone to
 * wait for. Node opens files so that child processes do not inherit them: a child that outlives us does not keep the lock.
 */
export async function acquireCacheLock(
  path: string,
  options: { readonly onWait?: () => void; readonly signal?: AbortSignal } = {},
): Promise<AsyncDisposable> {
  const { onWait, signal } = options;
  const file = await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
  try {
    for (let waited = false; !tryLock(file.fd); waited = true) {
      if (!waited) onWait?.();
      await delay(retryMs, undefined, signal === undefined ? {} : { signal });
    }
  } catch (error) {
    await file.close();
    throw error;
  }
  return { [Symbol.asyncDispose]: () => file.close() };
}
