// The thread in which memory is scanned, copied, encrypted and decrypted, so that the event loop goes on. One job at a time.

import { parentPort } from 'node:worker_threads';
import { BulkheadError } from '@bulkhead/protocol';
import { errnoOf } from '../../lib/errno.ts';
import {
  type CaptureJob,
  type CountJob,
  type DiscardJob,
  type OpenJob,
  OpenedSnapshot,
  type RestoreJob,
  capture,
  countTouched,
} from './snapshot-content.ts';

export type SnapshotJob = CaptureJob | OpenJob | RestoreJob | DiscardJob | CountJob;

export type SnapshotAnswer =
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly error: SnapshotFailure };

export interface SnapshotFailure {
  readonly message: string;
  readonly errno?: string;
  /** Of a `BulkheadError`. */
  readonly json?: ReturnType<BulkheadError['toJSON']>;
}

/** What has been opened for machines that are not there yet, by number. */
const opened = new Map<number, OpenedSnapshot>();
let openedCount = 0;

function take(number: number): OpenedSnapshot {
  const snapshot = opened.get(number);
  if (snapshot === undefined) throw new Error('this snapshot is not open');
  opened.delete(number);
  return snapshot;
}

function work(job: SnapshotJob): unknown {
  switch (job.type) {
    case 'capture':
      return capture(job);
    case 'open':
      opened.set(++openedCount, new OpenedSnapshot(job));
      return openedCount;
    case 'restore':
      return take(job.opened).restore(job.machine);
    case 'discard':
      return opened.delete(job.opened);
    case 'count':
      return countTouched(job);
    default:
      return job satisfies never;
  }
}

function describe(error: unknown): SnapshotFailure {
  const message = error instanceof Error ? error.message : String(error);
  const errno = errnoOf(error);
  return {
    message,
    ...(errno === undefined ? {} : { errno }),
    ...(BulkheadError.is(error) ? { json: error.toJSON() } : {}),
  };
}

parentPort?.on('message', ({ id, job }: { readonly id: number; readonly job: SnapshotJob }) => {
  let answer: SnapshotAnswer;
  try {
    answer = { id, result: work(job) };
  } catch (error) {
    answer = { id, error: describe(error) };
  } finally {
    if ('key' in job) job.key.fill(0);
  }
  parentPort?.postMessage(answer);
});
