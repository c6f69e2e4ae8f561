// A machine for a session, or nothing. The caller may give up at any moment and gets its answer at once; a machine that the
// runtime hands over afterwards is destroyed, never leaked.

import { BulkheadError, limits } from '@bulkhead/protocol';
import type { CallOptions } from '../guest/guest.ts';
import type { Clock } from '../lib/clock.ts';
import { type Minima, checkTier } from '../placement/place.ts';
import type { Coming, LaunchSpec, Machine, Runtime, SnapshotSource } from '../runtimes/runtime.ts';
import type { LaunchQueue } from './launch-queue.ts';
import type { WarmPool } from './warm-pool.ts';

/** What a machine is made from when it is not a template. */
export interface Origin {
  readonly source: Coming<SnapshotSource>;
  /** It is a copy: it must differ from all others. */
  readonly renew: boolean;
}

export interface LaunchRequest extends CallOptions {
  readonly onProgress?: (message: string) => void;
  readonly origin?: Origin;
}

export interface LaunchOptions {
  readonly runtime: Runtime;
  readonly spec: LaunchSpec;
  /** A runtime, or a machine, that isolates less is refused. */
  readonly minima: Minima;
  /** A template when there is none. */
  readonly origin?: Origin;
  /** Machines that are there already. */
  readonly pool?: WarmPool;
  readonly clock: Clock;
  readonly queue: LaunchQueue;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  readonly onProgress?: (message: string) => void;
}

export interface PendingLaunch {
  /** The machine, or why there is none: the signal's reason, or the runtime's error. */
  readonly machine: Promise<Machine>;
  /** Settles when the runtime has answered and whatever came too late is gone. Never rejects. */
  readonly released: Promise<void>;
}

/**
 * Errors: those of `Runtime.prepare` and `Runtime.launch`; `tier_unavailable`; `launch_timeout` when the runtime itself kept no time; the
 * signal's reason when that is a `BulkheadError`, otherwise `cancelled`.
 */
export function startLaunch(options: LaunchOptions): PendingLaunch {
  const { runtime, spec, clock, signal } = options;
  const givenUp = Promise.withResolvers<never>();
  const inner = new AbortController();
  let abandoned = false;
  const abandon = (reason: BulkheadError): void => {
    if (abandoned) return;
    abandoned = true;
    givenUp.reject(reason);
    inner.abort(reason);
    place?.[Symbol.dispose]();
  };
  const onAbort = (): void => abandon(cancellation(signal));
  let cancelTimer: (() => void) | undefined;
  let place: Disposable | undefined;

  const produce = async (): Promise<Machine> => {
    await runtime.prepare(spec.size, {
      signal: inner.signal,
      ...(options.onProgress === undefined ? {} : { onProgress: options.onProgress }),
    });
    // Only now the runtime knows for certain what it can do; nothing has been started.
    const { runtime: name, tier } = runtime.capabilities;
    checkTier(tier, options.minima, name);
    const call = { signal: inner.signal };
    const ready = options.origin === undefined ? await options.pool?.claim(runtime, spec, call) : undefined;
    if (ready !== undefined) return await strongEnough(ready);
    // The time limit is the machine's, not the queue's.
    place = await options.queue.enter(inner.signal, spec.tenant);
    inner.signal.throwIfAborted();
    cancelTimer = clock.after(options.timeoutMs, () =>
      abandon(
        new BulkheadError('launch_timeout', `The machine did not start within ${options.timeoutMs} ms.`, {
          hint: 'The host may be overloaded; `bulkhead doctor` shows what it can do.',
          details: { retryAfterMs: limits.launchTimeoutMs },
        }),
      ),
    );
    try {
      return await strongEnough(await launch(call));
    } catch (error) {
      const full = BulkheadError.is(error, 'capacity_exhausted');
      if (full && (await options.pool?.giveWay()) === true) return await strongEnough(await launch(call));
      throw error;
    }
  };
  const strongEnough = async (machine: Machine): Promise<Machine> => {
    try {
      checkTier(machine.tier, options.minima, runtime.capabilities.runtime);
      return machine;
    } catch (error) {
      await machine.destroy('destroyed', 'it isolates less than is required');
      throw error;
    }
  };
  const launch = (call: { readonly signal: AbortSignal }): Promise<Machine> =>
    options.origin === undefined
      ? runtime.launch(spec, call)
      : runtime.restore(spec, options.origin.source, { ...call, renew: options.origin.renew });

  if (signal.aborted) onAbort();
  else signal.addEventListener('abort', onAbort, { once: true });
  const produced = abandoned ? givenUp.promise : produce();
  const release = async (): Promise<void> => {
    try {
      const machine = await produced;
      if (abandoned) await machine.destroy('destroyed', 'the launch was given up before it was done');
    } catch {
      // The caller has been told: by `machine`, or because it gave up itself.
    } finally {
      cancelTimer?.();
      place?.[Symbol.dispose]();
      signal.removeEventListener('abort', onAbort);
    }
  };
  return { machine: Promise.race([givenUp.promise, produced]), released: release() };
}

function cancellation(signal: AbortSignal): BulkheadError {
  const reason: unknown = signal.reason;
  if (BulkheadError.is(reason)) return reason;
  return new BulkheadError('cancelled', 'The launch was cancelled.', { cause: reason });
}
