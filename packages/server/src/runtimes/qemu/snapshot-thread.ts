// The thread in which memory is scanned, copied, encrypted and decrypted, so that the event loop goes on. One job at a time.

import { answerJobs } from '../job-thread.ts';
import {
  type CaptureJob,
  type DiscardJob,
  type OpenJob,
  OpenedSnapshot,
  type RestoreJob,
  capture,
} from './snapshot-content.ts';

export type SnapshotJob = CaptureJob | OpenJob | RestoreJob | DiscardJob;

/** What has been opened for machines that are not there yet, by number. */
const opened = new Map<number, OpenedSnapshot>();
let openedCount = 0;

function take(number: number): OpenedSnapshot {
  const snapshot = opened.get(number);
  if (snapshot === undefined) throw new Error('this snapshot is not open');
  opened.delete(number);
  return snapshot;
}

answerJobs((job: SnapshotJob): unknown => {
  switch (job.type) {
    case 'capture':
      return capture(job);
    case 'open':
      opened.set(++openedCount, new OpenedSnapshot(job));
      return openedCount;
    case 'restore':
      return take(job.opened).restore(job.machine);
    case 'discard':
      take(job.opened)[Symbol.dispose]();
      return undefined;
    default:
      return job satisfies never;
  }
});
