// The host's end of the snapshot thread: started when the first job comes, ended with the runtime.

import { Worker } from 'node:worker_threads';
import { BulkheadError } from '@bulkhead/protocol';
import type { SnapshotHeader } from '../../snapshots/sealed-file.ts';
import type { CaptureJob, CaptureResult, CountJob, MachineParts, OpenJob } from './snapshot-content.ts';
import type { SnapshotAnswer, SnapshotFailure, SnapshotJob } from './snapshot-thread.ts';

/** A snapshot that is being read. Disposed of, what was read of it is let go. */
export interface OpeningSnapshot extends AsyncDisposable {
  /** Once. */
  restore(machine: MachineParts): Promise<SnapshotHeader>;
}

export class SnapshotWorker implements AsyncDisposable {
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>();
  #thread: Worker | undefined;
  #nextId = 1;
  #closed = false;

  async capture(job: CaptureJob): Promise<CaptureResult> {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what the thread, our own code, returns for this job
    return (await this.#run(job)) as CaptureResult;
  }

  /** Begins to read a snapshot for a machine that is still to come. Errors, once it is restored: `snapshot_invalid`, `snapshot_incompatible`. */
  open(job: OpenJob): OpeningSnapshot {
    const opening = this.#run(job).then(Number);
    opening.catch(() => undefined); // whoever restores it sees the failure
    let restoring: Promise<unknown> | undefined;
    // Only when the thread is done with them may the snapshot's descriptor and the machine's be closed.
    const discard = async (): Promise<void> => {
      const opened = await opening;
      if (restoring === undefined) restoring = this.#run({ type: 'discard', opened });
      await restoring;
    };
    return {
      restore: async (machine) => {
        const opened = await opening;
        restoring = this.#run({ type: 'restore', opened, machine });
        // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- as above
        return (await restoring) as SnapshotHeader;
      },
      [Symbol.asyncDispose]: () => discard().catch(() => undefined),
    };
  }

  async countTouchedBytes(machine: CountJob['machine']): Promise<number> {
    return Number(await this.#run({ type: 'count', machine }));
  }

  #run(job: SnapshotJob): Promise<unknown> {
    if (this.#closed) return Promise.reject(new BulkheadError('session_ended', 'This runtime is closed.'));
    const thread = (this.#thread ??= this.#start());
    const id = this.#nextId++;
    const answered = Promise.withResolvers<unknown>();
    this.#waiting.set(id, answered);
    thread.ref();
    thread.postMessage({ id, job });
    return answered.promise;
  }

  #start(): Worker {
    const thread = new Worker(new URL('./snapshot-thread.ts', import.meta.url), {
      // Where modules are found; what else the process was started with (`--input-type`, say) may keep a thread from starting.
      execArgv: process.execArgv.filter((argument) => argument.startsWith('--conditions')),
    });
    thread.on('message', (answer: SnapshotAnswer) => this.#settle(answer));
    const end = (error: Error): void => {
      if (this.#thread === thread) this.#thread = undefined;
      for (const answered of this.#waiting.values()) answered.reject(error);
      this.#waiting.clear();
    };
    thread.on('error', end);
    thread.on('exit', (code) => end(new Error(`the snapshot thread ended with ${code}`)));
    return thread;
  }

  #settle(answer: SnapshotAnswer): void {
    const answered = this.#waiting.get(answer.id);
    this.#waiting.delete(answer.id);
    // An idle thread does not keep the process alive.
    if (this.#waiting.size === 0) this.#thread?.unref();
    if ('error' in answer) answered?.reject(toError(answer.error));
    else answered?.resolve(answer.result);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    await this.#thread?.terminate();
  }
}

function toError({ json, message, errno }: SnapshotFailure): Error {
  if (json === undefined) return Object.assign(new Error(message), errno === undefined ? {} : { code: errno });
  const { code, hint, details } = json;
  return new BulkheadError(code, json.message, {
    ...(hint === undefined ? {} : { hint }),
    ...(details === undefined ? {} : { details }),
  });
}
