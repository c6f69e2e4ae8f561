// What the children of a fork are made from: the snapshot that the parent sleeps in, or a copy of a live parent that stays in memory,
// sealed like one on a disk, with a key that lives as long as the fork takes.

import { randomBytes } from 'node:crypto';
import { closeSync } from 'node:fs';
import { makeId } from '@bulkhead/protocol';
import type { Clock } from '../lib/clock.ts';
import { createMemory } from '../lib/host-calls.ts';
import type { OpenSnapshot, SnapshotKeeper } from './session-journal.ts';
import type { Session } from './session.ts';

export async function openForkSource(
  parent: Session,
  keeper: SnapshotKeeper | undefined,
  clock: Clock,
): Promise<OpenSnapshot> {
  const { tenant, id: session, state, snapshot: sleepsIn } = parent.record;
  if (state === 'suspended' && keeper !== undefined && sleepsIn !== null) {
    return await keeper.open({ tenant, session }, sleepsIn);
  }
  const key = randomBytes(32);
  const fd = createMemory('bulkhead-fork');
  const close = async (): Promise<void> => {
    key.fill(0);
    closeSync(fd);
  };
  const snapshot = makeId('snapshot');
  const target = { fd, key, snapshot, kind: 'checkpoint', createdAtUnixMs: clock.unixMs() } as const;
  try {
    const { epoch } = await parent.capture((capture) => capture(target));
    return { source: { fd, key, snapshot, tenant, session, epoch }, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}
