import type { SessionRecord } from '@bulkhead/server';

/** What `bulkhead session` shows of a session. */
export function sessionDocument(record: SessionRecord): Readonly<Record<string, unknown>> {
  const { id, state, size, tier, runtime, turnCount, epoch, parent, snapshot, timeLimits, error, launch } = record;
  return {
    id,
    state,
    size,
    tier,
    runtime,
    turnCount,
    createdAt: time(record.createdAtUnixMs),
    activeAt: time(record.activeAtUnixMs),
    endedAt: record.endedAtUnixMs === null ? null : time(record.endedAtUnixMs),
    parent,
    epoch,
    snapshot,
    launchMs: launch === null ? null : Math.round(launch.confirmedMs * 10) / 10,
    timeLimits,
    error,
  };
}

/** A line of the list. */
export function sessionLine({ id, state, size, turnCount, activeAtUnixMs, parent }: SessionRecord): unknown {
  return { id, state, size, turns: turnCount, active: time(activeAtUnixMs), parent: parent ?? '' };
}

export function time(unixMs: number): string {
  return new Date(unixMs).toISOString();
}
