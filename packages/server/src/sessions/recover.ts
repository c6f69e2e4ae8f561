// After a start, however the process before us ended: makes what the store says, what lies on the disk and what runs agree. Machines end
// with the process that has them, so a session that was not asleep is over, and is told so; nothing that was acknowledged goes.

import { type ErrorJson, type SessionState, type TurnOutcome, parseId } from '@bulkhead/protocol';
import type { KeyRing } from '../snapshots/key-ring.ts';
import type { SnapshotFiles } from '../snapshots/snapshot-files.ts';
import type { Store } from '../store/store.ts';
import { type SessionChange, type SessionRecord, isFinal, toRecord, transition } from './session-record.ts';
import { toSessionRow } from './stored-sessions.ts';
import type { StoredTurns } from './stored-turns.ts';
import { type StoredSnapshots, keptSnapshot } from './stored-snapshots.ts';

export interface Kept {
  readonly store: Store;
  readonly turns: StoredTurns;
  readonly files: SnapshotFiles;
  readonly keys: KeyRing;
  readonly snapshots: StoredSnapshots;
}

export interface Recovery {
  /** Oldest first; none of them has a machine. */
  readonly sessions: readonly SessionRecord[];
  /** Sessions that ended with the process before us. */
  readonly lost: number;
  /** Files and keys of nobody that were removed. */
  readonly removed: number;
}

/** Errors: `store_unavailable`. A second time, or after it was cut short, it comes to the same. */
export async function recover(kept: Kept, nowUnixMs: number): Promise<Recovery> {
  await endTurns(kept.turns);
  const sessions: SessionRecord[] = [];
  let lost = 0;
  for (const { record } of await kept.store.sessions.all()) {
    const before = toRecord(record);
    const after = isFinal(before) ? before : await settle(kept, before, nowUnixMs);
    if (after.state === 'failed' && before.state !== 'failed') lost += 1;
    sessions.push(after);
  }
  return { sessions, lost, removed: await removeOrphans(kept, sessions) };
}

/** A turn that has no end will not get one: its code ran in a machine that is gone. It is not run again. */
async function endTurns(turns: StoredTurns): Promise<void> {
  const outcome: TurnOutcome = {
    status: 'error',
    error: { code: 'machine_lost', message: 'The server ended during the turn.' },
    exception: null,
    context: 'gone',
    guestMs: 0,
    turnMs: 0,
  };
  await turns.endOpen(outcome);
}

async function settle({ store, files, snapshots }: Kept, record: SessionRecord, now: number): Promise<SessionRecord> {
  const { tenant, id: session } = record;
  const step = async (state: SessionState, change: SessionChange): Promise<SessionRecord> => {
    const after = transition(record, state, { machine: null, turn: null, ...change });
    await store.sessions.save(toSessionRow(after));
    return after;
  };
  const ended = { endedAtUnixMs: now, snapshot: null };
  if (record.state === 'terminating') {
    await snapshots.forget({ tenant, session });
    return await step('terminated', ended);
  }
  const whole = (await snapshots.list({ tenant, session })).filter(({ kind }) => kind === 'suspend');
  const there = await files.listOf(session);
  const sleepsIn = whole.find(({ id, epoch }) =>
    record.state === 'suspending' ? epoch === record.epoch : id === record.snapshot,
  );
  if (sleepsIn !== undefined && there.includes(sleepsIn.id)) {
    if (record.state === 'suspended') return record;
    return await step('suspended', { snapshot: sleepsIn.id, epoch: sleepsIn.epoch });
  }
  const failed = await step('failed', { ...ended, error: howItWasLost(record) });
  await snapshots.forget({ tenant, session });
  return failed;
}

function howItWasLost({ state }: SessionRecord): ErrorJson {
  return state === 'suspended'
    ? { code: 'snapshot_invalid', message: 'The snapshot that the session slept in is not there any more.' }
    : { code: 'machine_lost', message: `The server ended while the session was ${state}.` };
}

/** Keys and files that no session that goes on needs, and rows of files that are not there. */
async function removeOrphans({ store, files, keys }: Kept, sessions: readonly SessionRecord[]): Promise<number> {
  const alive = new Map(sessions.filter((record) => !isFinal(record)).map((record) => [record.id, record]));
  let removed = 0;
  for (const session of await keys.list()) {
    if (alive.has(session)) continue;
    await keys.destroy(session);
    removed += 1;
  }
  const found = new Map((await files.list()).map((file) => [file.snapshot, file.session]));
  for (const row of await store.snapshots.all()) {
    const snapshot = keptSnapshot(row);
    const session = parseId('session', row.session);
    const record = session === undefined ? undefined : alive.get(session);
    const needed = snapshot !== undefined && (snapshot.kind === 'checkpoint' || record?.snapshot === snapshot.id);
    if (record !== undefined && needed && found.delete(snapshot.id)) continue;
    await store.snapshots.remove(row.tenant, row.id);
  }
  for (const [snapshot, session] of found) {
    await files.remove(session, snapshot);
    removed += 1;
  }
  return removed;
}
