// A thread for work that does not return to its event loop, such as copying and sealing memory: the host's end of it. Started when the first
// job comes, ended with its owner. The other end is `answerJobs`, in the thread's script.

import { Worker, parentPort } from 'node:worker_threads';
import { BulkheadError } from '@bulkhead/protocol';
import { errnoOf } from '../lib/errno.ts';

type Answer = { readonly id: number; readonly result: unknown } | { readonly id: number; readonly error: Failure };

interface Failure {
  readonly message: string;
  readonly errno?: string;
  /** Of a `BulkheadError`. */
  readonly json?: ReturnType<BulkheadError['toJSON']>;
}

export class JobThread<Job> implements AsyncDisposable {
  readonly #script: URL;
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>();
  #thread: Worker | undefined;
  #nextId = 1;
  #closed = false;

  constructor(script: URL) {
    this.#script = script;
  }

  /** What the thread made of it. Errors: whatever the job threw; `session_ended` when this is closed. */
  run(job: Job): Promise<unknown> {
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
    const thread = new Worker(this.#script, {
      // Where modules are found; what else the process was started with (`--input-type`, say) may keep a thread from starting.
      execArgv: process.execArgv.filter((argument) => argument.startsWith('--conditions')),
    });
    thread.on('message', (answer: Answer) => this.#settle(answer));
    const end = (error: Error): void => {
      if (this.#thread === thread) this.#thread = undefined;
      for (const answered of this.#waiting.values()) answered.reject(error);
      this.#waiting.clear();
    };
    thread.on('error', end);
    thread.on('exit', (code) => end(new Error(`a thread ended with ${code}`)));
    return thread;
  }

  #settle(answer: Answer): void {
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

function toError({ json, message, errno }: Failure): Error {
  if (json === undefined) return Object.assign(new Error(message), errno === undefined ? {} : { code: errno });
  const { code, hint, details } = json;
  return new BulkheadError(code, json.message, {
    ...(hint === undefined ? {} : { hint }),
    ...(details === undefined ? {} : { details }),
  });
}

/** In the thread's script: one job at a time. What a job holds in `key` is erased when it is done. */
export function answerJobs(work: (job: never) => unknown): void {
  parentPort?.on('message', ({ id, job }: { readonly id: number; readonly job: object }) => {
    let answer: Answer;
    try {
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the other end sends jobs of this kind alone
      answer = { id, result: work(job as never) };
    } catch (error) {
      answer = { id, error: describe(error) };
    } finally {
      if ('key' in job && job.key instanceof Uint8Array) job.key.fill(0);
    }
    parentPort?.postMessage(answer);
  });
}

function describe(error: unknown): Failure {
  const message = error instanceof Error ? error.message : String(error);
  const errno = errnoOf(error);
  return {
    message,
    ...(errno === undefined ? {} : { errno }),
    ...(BulkheadError.is(error) ? { json: error.toJSON() } : {}),
  };
}
