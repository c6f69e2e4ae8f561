// The host's end of the snapshot thread.

import type { SnapshotHeader } from '../../snapshots/sealed-file.ts';
import { JobThread } from '../job-thread.ts';
import type { CaptureJob, CaptureResult, MachineParts, OpenJob } from './snapshot-content.ts';
import type { SnapshotJob } from './snapshot-thread.ts';

/** A snapshot that is being read. Disposed of, what was read of it is let go. */
export interface OpeningSnapshot extends AsyncDisposable {
  /** Once. */
  restore(machine: MachineParts): Promise<SnapshotHeader>;
}

export class SnapshotWorker implements AsyncDisposable {
  readonly #thread = new JobThread<SnapshotJob>(new URL('./snapshot-thread.ts', import.meta.url));

  async capture(job: CaptureJob): Promise<CaptureResult> {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what the thread, our own code, returns for this job
    return (await this.#thread.run(job)) as CaptureResult;
  }

  /** Reads a snapshot, as soon as it is there, for a machine that is still to come. Errors, once it is restored: `snapshot_invalid`, `snapshot_incompatible`, that of `job`. */
  open(job: OpenJob | Promise<OpenJob>): OpeningSnapshot {
    const opening = Promise.resolve(job)
      .then((given) => this.#thread.run(given))
      .then(Number);
    opening.catch(() => undefined); // whoever restores it sees the failure
    let restoring: Promise<unknown> | undefined;
    // Only when the thread is done with them may the snapshot's descriptor and the machine's be closed.
    const discard = async (): Promise<void> => {
      const opened = await opening;
      if (restoring === undefined) restoring = this.#thread.run({ type: 'discard', opened });
      await restoring;
    };
    return {
      restore: async (machine) => {
        const opened = await opening;
        restoring = this.#thread.run({ type: 'restore', opened, machine });
        // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- as above
        return (await restoring) as SnapshotHeader;
      },
      [Symbol.asyncDispose]: () => discard().catch(() => undefined),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#thread[Symbol.asyncDispose]();
  }
}
