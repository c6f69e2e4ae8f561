import type { SessionInfo } from './backend.ts';

/** What `bulkhead session` shows of a session. */
export function sessionDocument(info: SessionInfo): Readonly<Record<string, unknown>> {
  const { id, state, size, tier, runtime, turnCount, createdAt, activeAt, endedAt, launchMs } = info;
  const { parent, epoch, snapshot, timeLimits, error } = info;
  return {
    id,
    state,
    size,
    tier,
    runtime,
    turnCount,
    createdAt,
    activeAt,
    endedAt,
    parent,
    epoch,
    snapshot,
    launchMs: launchMs === null ? null : Math.round(launchMs * 10) / 10,
    timeLimits,
    error,
  };
}

/** A line of the list. */
export function sessionLine({ id, state, size, turnCount, activeAt, parent }: SessionInfo): unknown {
  return { id, state, size, turns: turnCount, active: activeAt, parent: parent ?? '' };
}
