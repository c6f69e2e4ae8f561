// What a session tells before and after it acts, for whoever keeps it: a store, or nobody. Both halves of a session that outlives its
// process: its record and turns (`SessionJournal`), its machine (`SnapshotKeeper`).

import {
  BulkheadError,
  type ErrorCode,
  type SessionId,
  type SnapshotId,
  type TenantId,
  type TurnEvent,
  type TurnId,
  type TurnOutcome,
} from '@bulkhead/protocol';
import type { Coming, SnapshotFacts, SnapshotSource, SnapshotTarget } from '../runtimes/runtime.ts';
import type { SnapshotKind } from '../snapshots/sealed-file.ts';
import type { SessionRecord } from './session-record.ts';
import type { CheckedTurnRequest } from './turn-request.ts';

export interface TurnIntent {
  readonly id: TurnId;
  readonly session: SessionRecord;
  readonly request: CheckedTurnRequest;
}

export interface TurnEnd {
  readonly id: TurnId;
  readonly tenant: TenantId;
  /** What the session is after it; null where something else has ended the turn, and the session is that. */
  readonly after: SessionRecord | null;
}

export interface SessionJournal {
  /**
   * Keeps the first generation of new sessions of one tenant, all of them or none. Tries again while the store is away. Errors, after which none of them is
   * kept: `quota_exceeded`, `host_unsupported`, `not_found`: the tenant may not have them (`isRefusal`).
   */
  beginSessions(records: readonly SessionRecord[]): Promise<void>;
  /**
   * Keeps a record; called once for each generation after the first, in order. Tries again while the store is away; resolves when the record is durable.
   * Errors: `state_conflict` when somebody else has written that generation: this process no longer has the session. Those of `beginSessions` for one that
   * was asleep and is `resuming`: what the store has is then the generation before.
   */
  saveSession(record: SessionRecord): Promise<void>;
  /**
   * Keeps a record, the generation that runs the turn, and with it the turn: both or neither, before the code is sent. As `saveSession`; other errors, after which
   * neither is kept: `key_unavailable`.
   */
  startTurn(turn: TurnIntent): Promise<void>;
  /** The same for its end and what the session is after it, before anybody is told. */
  endTurn(turn: TurnEnd, events: readonly TurnEvent[], outcome: TurnOutcome): Promise<void>;
}

/** Whether the store was asked for more than the tenant may have, and has written nothing. */
export function isRefusal(error: unknown): boolean {
  return BulkheadError.is(error) && refusals.has(error.code);
}
const refusals: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['quota_exceeded', 'host_unsupported', 'not_found']);

export interface KeptSnapshot {
  readonly id: SnapshotId;
  readonly kind: SnapshotKind;
  /** Of a checkpoint. */
  readonly name: string | null;
  readonly createdAtUnixMs: number;
  readonly bytes: number;
  readonly epoch: number;
}

/** A snapshot to restore from: it is being opened, or still being made, and a machine for it can be started meanwhile. */
export interface OpenSnapshot extends AsyncDisposable {
  readonly source: Coming<SnapshotSource>;
}

export interface WhoseSnapshot {
  readonly tenant: TenantId;
  readonly session: SessionId;
}

/** Writes a session's machine out. */
export type Capture = (target: Coming<SnapshotTarget>) => Promise<SnapshotFacts>;

export interface SnapshotKeeper {
  /**
   * Has `write` fill a new file, and keeps it when that succeeds: all of it or nothing. A checkpoint of the same name is replaced.
   * Errors: `disk_full`, `key_unavailable`, `store_unavailable`, those of `write`.
   */
  save(
    whose: WhoseSnapshot,
    what: { readonly kind: SnapshotKind; readonly name: string | null; readonly unixMs: number },
    write: Capture,
  ): Promise<KeptSnapshot>;
  /** Errors, of its `source`: `snapshot_invalid`, `key_unavailable`, `store_unavailable`. */
  open(whose: WhoseSnapshot, snapshot: SnapshotId): OpenSnapshot;
  /** Oldest first. */
  list(whose: WhoseSnapshot): Promise<readonly KeptSnapshot[]>;
  /** Idempotent. */
  remove(whose: WhoseSnapshot, snapshot: SnapshotId): Promise<void>;
  /** Destroys the session's key, then its files; idempotent. What was on the disk cannot be read from here on. */
  forget(whose: WhoseSnapshot): Promise<void>;
}
