// The thread in which images of containers are encrypted and decrypted, so that the event loop goes on. One job at a time.

import { answerJobs } from '../job-thread.ts';
import { type SealJob, type UnsealJob, seal, unseal } from './snapshot-content.ts';

export type SnapshotJob = SealJob | UnsealJob;

answerJobs((job: SnapshotJob): unknown => {
  switch (job.type) {
    case 'seal':
      return seal(job);
    case 'unseal':
      return unseal(job);
    default:
      return job satisfies never;
  }
});
