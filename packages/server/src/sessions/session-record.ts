// What is known of a session, as plain data. A record is never changed: a transition makes the next one, with a higher
// generation, and refuses what the state table does not have. A store keeps exactly these.

import {
  BulkheadError,
  type ErrorJson,
  type Labels,
  type MachineId,
  type RuntimeName,
  type SessionId,
  type SessionState,
  type SizeName,
  type SnapshotId,
  type TenantId,
  type Tier,
  type TimeLimits,
  type TurnId,
  canTransition,
} from '@bulkhead/protocol';
import { type Grant, noGrant } from '../authority/grant.ts';
import type { LaunchTimings } from '../runtimes/runtime.ts';

export interface SessionRecord {
  readonly id: SessionId;
  readonly tenant: TenantId;
  /** Whose it is, within the tenant. */
  readonly subject: string;
  readonly labels: Labels;
  /** The tools that it may use at all; policies decide about each call. */
  readonly grant: Grant;
  readonly size: SizeName;
  readonly runtime: RuntimeName;
  /** The machine's own once there is one; until then, what the runtime expects. */
  readonly tier: Tier;
  /** What it was created to have at least, wherever it runs. */
  readonly minimumTier: Tier;
  readonly state: SessionState;
  /** 1 for a new session, then one more with every transition. */
  readonly generation: number;
  readonly createdAtUnixMs: number;
  readonly endedAtUnixMs: number | null;
  readonly machine: MachineId | null;
  readonly bootId: string | null;
  readonly launch: LaunchTimings | null;
  /** The turn that runs now. */
  readonly turn: TurnId | null;
  readonly turnCount: number;
  /** The session that it was forked from. */
  readonly parent: SessionId | null;
  /** Identities that its machine has been given. */
  readonly epoch: number;
  /** What it sleeps in. */
  readonly snapshot: SnapshotId | null;
  readonly timeLimits: TimeLimits;
  /** When the host last saw a turn, a command or a transfer of it end; the guest has no say. */
  readonly activeAtUnixMs: number;
  /** Why the session failed. */
  readonly error: ErrorJson | null;
}

/** Whoever works with a session in this process, without saying on whose behalf. */
export const localSubject = 'local';

export type SessionChange = Partial<
  Pick<
    SessionRecord,
    | 'tier'
    | 'endedAtUnixMs'
    | 'machine'
    | 'bootId'
    | 'launch'
    | 'turn'
    | 'turnCount'
    | 'epoch'
    | 'snapshot'
    | 'labels'
    | 'activeAtUnixMs'
    | 'error'
  >
>;

/** The record after a transition. Errors: `state_conflict` for a transition that the table does not have. */
export function transition(record: SessionRecord, to: SessionState, change: SessionChange = {}): SessionRecord {
  if (!canTransition(record.state, to)) {
    throw new BulkheadError('state_conflict', `A session that is ${record.state} cannot become ${to}.`, {
      details: { state: record.state, to },
    });
  }
  return { ...record, ...change, state: to, generation: record.generation + 1 };
}

/** The record after a change that leaves the state as it is. */
export function amend(record: SessionRecord, change: SessionChange): SessionRecord {
  return { ...record, ...change, generation: record.generation + 1 };
}

export function isFinal(record: SessionRecord): boolean {
  return record.state === 'terminated' || record.state === 'failed';
}

/** What the store has. Records that were written before there was a subject, a label, a grant or a minimum are this host's own, and have none. */
export function toRecord(document: unknown): SessionRecord {
  const added: Pick<SessionRecord, 'subject' | 'labels' | 'grant' | 'minimumTier'> = {
    subject: localSubject,
    labels: {},
    grant: noGrant,
    minimumTier: 'none',
  };
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the store keeps exactly what it was given
  return { ...added, ...(document as SessionRecord) };
}
