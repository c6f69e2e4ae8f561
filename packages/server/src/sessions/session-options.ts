import type { Clock } from '../lib/clock.ts';
import type { Minima } from '../placement/place.ts';
import type { Runtime } from '../runtimes/runtime.ts';
import type { LaunchQueue } from './launch-queue.ts';
import type { SessionJournal, SnapshotKeeper } from './session-journal.ts';
import type { SessionRecord } from './session-record.ts';
import type { SessionTools } from './session-tools.ts';
import type { WarmPool } from './warm-pool.ts';

export interface SessionOptions {
  /** The one that the record names. Errors: `host_unsupported` when it is not here any more. */
  readonly runtime: () => Runtime;
  /** What is required of it now: a tenant's minimum may have changed since the session was created. */
  readonly minima: () => Minima;
  readonly clock: Clock;
  /** Shared by all sessions: so many machines are launched at once. */
  readonly queue: LaunchQueue;
  readonly pool?: WarmPool;
  readonly record: SessionRecord;
  /** Of a new session: its first record is being kept. */
  readonly begun?: Promise<void>;
  /** Without them a session lives no longer than this process, and is not suspended. */
  readonly journal?: SessionJournal;
  readonly keeper?: SnapshotKeeper;
  readonly tools?: SessionTools;
  readonly onTransition: (before: SessionRecord, after: SessionRecord) => void;
}
