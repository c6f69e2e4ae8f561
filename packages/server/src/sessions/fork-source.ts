// What the children of a fork are made from: the snapshot that the parent sleeps in, or a copy of a live parent that stays in memory,
// sealed like one on a disk, with a key that lives as long as the fork takes. Their machines are started while it is still being made.

import { randomBytes } from 'node:crypto';
import { closeSync } from 'node:fs';
import { makeId } from '@bulkhead/protocol';
import type { Clock } from '../lib/clock.ts';
import { createMemory } from '../lib/host-calls.ts';
import type { SnapshotSource } from '../runtimes/runtime.ts';
import type { OpenSnapshot, SnapshotKeeper } from './session-journal.ts';
import type { Session } from './session.ts';

/**
 * Disposed of, the parent has gone on, and what it was copied to is gone. Errors: `state_conflict`, `session_ended` when the parent cannot be copied now;
 * what goes wrong after that its `source` tells.
 */
export function openForkSource(parent: Session, keeper: SnapshotKeeper | undefined, clock: Clock): OpenSnapshot {
  const { tenant, id: session, state, snapshot: sleepsIn } = parent.record;
  if (state === 'suspended' && keeper !== undefined && sleepsIn !== null) {
    return keeper.open({ tenant, session }, sleepsIn);
  }
  return copyInMemory(parent, clock);
}

function copyInMemory(parent: Session, clock: Clock): OpenSnapshot {
  const { tenant, id: session } = parent.record;
  const copied = Promise.withResolvers<SnapshotSource>();
  const snapshot = makeId('snapshot');
  const key = randomBytes(32);
  const fd = createMemory('bulkhead-fork');
  const close = (): void => {
    key.fill(0);
    closeSync(fd);
  };
  let goesOn: Promise<void>;
  try {
    goesOn = parent.capture(async (capture) => {
      const target = { fd, key, snapshot, kind: 'checkpoint', createdAtUnixMs: clock.unixMs() } as const;
      const { epoch } = await capture(target);
      copied.resolve({ fd, key, snapshot, tenant, session, epoch });
    });
  } catch (error) {
    close();
    throw error;
  }
  goesOn.catch(copied.reject);
  copied.promise.catch(() => undefined); // whoever makes a machine from it sees the failure
  return { source: copied.promise, [Symbol.asyncDispose]: () => goesOn.catch(() => undefined).then(close) };
}
