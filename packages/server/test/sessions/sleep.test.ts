import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BulkheadError, type SessionId, type TimeLimits, makeId } from '@bulkhead/protocol';
import { turnOf } from '../../src/api/caller-sessions.ts';
import type { SessionJournal } from '../../src/sessions/session-journal.ts';
import type { SessionRecord } from '../../src/sessions/session-record.ts';
import { type Harness, type HarnessOptions, openHarness } from './harness.ts';
import { MemoryKeeper } from './memory-keeper.ts';

interface Kept extends Harness {
  readonly keeper: MemoryKeeper;
}

function openKept(options: Omit<HarnessOptions, 'keeper'> = {}): Kept {
  const keeper = new MemoryKeeper();
  return Object.assign(openHarness({ ...options, keeper }), { keeper });
}

/** Lets the clock stand, and what waits for nothing else happen. */
async function settled<T>({ clock }: Harness, work: Promise<T>): Promise<T> {
  work.catch(() => undefined);
  await clock.advance(0);
  return await work;
}

async function create(harness: Harness, timeLimits: Partial<TimeLimits> = {}): Promise<SessionId> {
  const { tenant } = harness;
  return (await settled(harness, harness.sessions.createSession({ tenant, timeLimits }))).id;
}

async function output(harness: Harness, id: SessionId, code: string): Promise<string> {
  const turn = await settled(harness, harness.sessions.takeTurn(harness.tenant, id, { code }));
  return (await settled(harness, turn.result)).stdout.trimEnd();
}

const stateOf = ({ sessions, tenant }: Harness, id: SessionId): string => sessions.getSession(tenant, id).state;

describe('time limits', () => {
  it('suspend an idle session at its deadline and not before; a turn wakes it, with its variables', async () => {
    const harness = openKept();
    const id = await create(harness, { idleMs: 5000 });
    await output(harness, id, 'x = 41');
    await harness.clock.advance(4999);
    assert.equal(stateOf(harness, id), 'ready');
    await harness.clock.advance(1);
    assert.equal(stateOf(harness, id), 'suspended');
    assert.equal(harness.runtime.machines.size, 0);
    assert.equal(await output(harness, id, 'print(x + 1)'), '42');
    assert.equal(stateOf(harness, id), 'ready');
    assert.equal(harness.keeper.kept.size, 0, 'what it slept in is gone');
  });

  it('end a session that has slept for as long as it may, and all that was kept of it', async () => {
    const harness = openKept();
    const id = await create(harness, { idleMs: 1000, sleepMs: 7000 });
    await harness.clock.advance(7999);
    assert.equal(stateOf(harness, id), 'suspended');
    await harness.clock.advance(1);
    assert.equal(stateOf(harness, id), 'terminated');
    assert.equal(harness.keeper.kept.size, 0);
  });

  it('never end a session in the middle of a turn; its lifetime ends it after', async () => {
    const harness = openKept();
    const id = await create(harness, { idleMs: 1000, lifetimeMs: 3000 });
    const turn = harness.sessions.startTurn(harness.tenant, id, { code: 'sleep(10)\nprint("whole")' });
    await harness.clock.advance(9999);
    assert.equal(stateOf(harness, id), 'busy');
    await harness.clock.advance(1);
    assert.equal((await turn.result).stdout, 'whole\n');
    await harness.clock.advance(0);
    assert.equal(stateOf(harness, id), 'terminated');
  });

  it('end an idle session where nothing can keep it', async () => {
    const harness = openHarness();
    const id = await create(harness, { idleMs: 1000 });
    await harness.clock.advance(1000);
    assert.equal(stateOf(harness, id), 'terminated');
  });

  it('are refused outside their bounds', async () => {
    const harness = openKept();
    for (const timeLimits of [{ idleMs: 0 }, { sleepMs: Number.NaN }, { lifetimeMs: 1e12 }]) {
      await assert.rejects(harness.sessions.createSession({ tenant: harness.tenant, timeLimits }), {
        code: 'invalid_request',
      });
    }
  });
});

describe('suspend and resume', () => {
  it('leave a session as it was when its snapshot cannot be kept', async () => {
    const harness = openKept();
    const { sessions, tenant, keeper } = harness;
    const id = await create(harness);
    await output(harness, id, 'x = 1');
    keeper.failure = new BulkheadError('disk_full', 'No space.');
    await assert.rejects(settled(harness, sessions.suspendSession(tenant, id)), { code: 'disk_full' });
    assert.equal(stateOf(harness, id), 'ready');
    assert.equal(await output(harness, id, 'print(x)'), '1');
    assert.equal((await settled(harness, sessions.suspendSession(tenant, id))).state, 'suspended');
  });

  it('leave a session asleep when it cannot be woken, to be tried again', async () => {
    let launches = 0;
    const harness = openKept({ plan: () => (++launches === 2 ? { kind: 'fail' } : { kind: 'ok' }) });
    const { sessions, tenant } = harness;
    const id = await create(harness);
    await output(harness, id, 'x = 1');
    await settled(harness, sessions.suspendSession(tenant, id));
    await assert.rejects(settled(harness, sessions.resumeSession(tenant, id)), { code: 'launch_failed' });
    assert.equal(stateOf(harness, id), 'suspended');
    assert.equal(await output(harness, id, 'print(x)'), '1');
  });

  it('are refused where nothing keeps sessions', async () => {
    const harness = openHarness();
    const id = await create(harness);
    await assert.rejects(harness.sessions.suspendSession(harness.tenant, id), { code: 'unsupported' });
    assert.equal(stateOf(harness, id), 'ready');
  });

  it('give every machine a higher epoch', async () => {
    const harness = openKept();
    const { sessions, tenant } = harness;
    const id = await create(harness);
    const epochs = [sessions.getSession(tenant, id).epoch];
    for (let round = 0; round < 3; round++) {
      await settled(harness, sessions.suspendSession(tenant, id));
      epochs.push((await settled(harness, sessions.resumeSession(tenant, id))).epoch);
    }
    assert.ok(
      epochs.every((epoch, index) => index === 0 || epoch > (epochs[index - 1] ?? 0)),
      epochs.join(', '),
    );
  });

  it('are ended by a termination, which leaves nothing', async () => {
    for (const begin of ['suspendSession', 'resumeSession'] as const) {
      const harness = openKept();
      const { sessions, tenant, keeper } = harness;
      const id = await create(harness);
      if (begin === 'resumeSession') await settled(harness, sessions.suspendSession(tenant, id));
      const begun = sessions[begin](tenant, id);
      begun.catch(() => undefined);
      const ended = await settled(harness, sessions.terminateSession(tenant, id));
      assert.equal(ended.state, 'terminated', begin);
      await Promise.allSettled([begun]);
      assert.deepEqual([harness.runtime.machines.size, keeper.kept.size], [0, 0], begin);
    }
  });
});

describe('forks and checkpoints', () => {
  it('branch off a live session, a sleeping one, and a fork of a fork of a fork', async () => {
    const harness = openKept();
    const { sessions, tenant } = harness;
    let id = await create(harness);
    await output(harness, id, 'x = 5');
    for (let depth = 0; depth < 3; depth++) {
      if (depth === 1) await settled(harness, sessions.suspendSession(tenant, id));
      const [child] = await settled(harness, sessions.forkSession(tenant, id));
      assert.equal(child?.parent, id);
      assert.ok(child !== undefined);
      assert.equal(await output(harness, child.id, 'print(x)'), '5');
      await output(harness, child.id, `x = 5`);
      id = child.id;
    }
  });

  it('are all there or none', async () => {
    let launches = 0;
    const harness = openKept({ plan: () => (++launches === 8 ? { kind: 'full' } : { kind: 'ok' }) });
    const { sessions, tenant } = harness;
    const id = await create(harness);
    await assert.rejects(settled(harness, sessions.forkSession(tenant, id, 10)), { code: 'capacity_exhausted' });
    const alive = sessions.listSessions(tenant).filter(({ endedAtUnixMs }) => endedAtUnixMs === null);
    assert.deepEqual(
      alive.map((record) => record.id),
      [id],
    );
    assert.equal(harness.runtime.machines.size, 1);
    for (const count of [0, 101, 1.5]) {
      await assert.rejects(sessions.forkSession(tenant, id, count), { code: 'invalid_request' });
    }
  });

  it('leave nothing of themselves when the parent cannot be copied, and say why', async () => {
    const harness = openKept();
    const { sessions, tenant, runtime } = harness;
    const id = await create(harness);
    await output(harness, id, 'x = 5');
    const [machine] = runtime.machines.values();
    assert.ok(machine);
    machine.capture = () => Promise.reject(new BulkheadError('disk_full', 'There is no space.'));
    await assert.rejects(settled(harness, sessions.forkSession(tenant, id, 3)), { code: 'disk_full' });
    const ended = sessions.listSessions(tenant).filter((session) => session.id !== id);
    assert.ok(ended.every(({ endedAtUnixMs }) => endedAtUnixMs !== null));
    assert.deepEqual([...runtime.machines.values()], [machine]);
    assert.equal(await output(harness, id, 'print(x)'), '5', 'it goes on');
  });

  it('are not begun while the parent has a turn', async () => {
    const harness = openKept();
    const { sessions, tenant } = harness;
    const id = await create(harness);
    const turn = await settled(harness, sessions.takeTurn(tenant, id, { code: 'time.sleep(5)' }));
    await assert.rejects(settled(harness, sessions.forkSession(tenant, id)), { code: 'state_conflict' });
    assert.equal(sessions.listSessions(tenant).length, 1);
    await harness.clock.advance(5000);
    assert.equal((await turn.result).status, 'ok');
  });

  it('are refused to another tenant', async () => {
    const harness = openKept();
    const id = await create(harness);
    const other = makeId('tenant');
    await assert.rejects(harness.sessions.forkSession(other, id), { code: 'not_found' });
    await assert.rejects(harness.sessions.checkpointSession(other, id, 'a'), { code: 'not_found' });
    await assert.rejects(harness.sessions.listCheckpoints(other, id), { code: 'not_found' });
  });

  it('go back to a checkpoint in place, from a live session and from a sleeping one', async () => {
    const harness = openKept();
    const { sessions, tenant } = harness;
    const id = await create(harness);
    await output(harness, id, 'x = 1');
    await settled(harness, sessions.checkpointSession(tenant, id, 'one'));
    for (const asleep of [false, true]) {
      await output(harness, id, 'x = 2');
      if (asleep) await settled(harness, sessions.suspendSession(tenant, id));
      await settled(harness, sessions.restoreCheckpoint(tenant, id, 'one'));
      assert.equal(await output(harness, id, 'print(x)'), '1');
      assert.equal(harness.runtime.machines.size, 1);
    }
    await assert.rejects(sessions.restoreCheckpoint(tenant, id, 'two'), { code: 'not_found' });
    await assert.rejects(sessions.checkpointSession(tenant, id, '../x'), { code: 'invalid_request' });
  });
});

describe('a journal', () => {
  const nothing = (): Promise<void> => Promise.resolve();

  it('has a turn before its code is sent, and its end before anybody else', async () => {
    const written: string[] = [];
    const journal: SessionJournal = {
      beginSessions: async (records) => {
        for (const { state, generation } of records) written.push(`${generation} ${state}`);
      },
      saveSession: async ({ state, generation }) => void written.push(`${generation} ${state}`),
      startTurn: async ({ session }) => void written.push(`${session.generation} ${session.state}, the turn starts`),
      endTurn: async ({ after }, { length }) =>
        void written.push(
          `${after?.generation} ${after?.state}, the turn has ended${length > 0 ? ' with what it told' : ''}`,
        ),
    };
    const harness = openKept({ journal });
    const id = await create(harness);
    assert.equal(await output(harness, id, 'print(1)'), '1');
    assert.deepEqual(written, [
      '1 creating',
      '2 ready',
      '3 busy, the turn starts',
      '4 ready, the turn has ended with what it told',
    ]);
  });

  it('has a turn asked for while its end is written down told as it ended, though its session is ready', async () => {
    const written = Promise.withResolvers<void>();
    const journal = {
      beginSessions: nothing,
      saveSession: nothing,
      startTurn: nothing,
      endTurn: () => written.promise,
    };
    const harness = openKept({ journal });
    const id = await create(harness);
    const turn = await settled(harness, harness.sessions.takeTurn(harness.tenant, id, { code: 'sleep(0.05)' }));
    assert.equal((await turnOf(turn)).state, 'running');
    await harness.clock.advance(100);
    assert.equal(stateOf(harness, id), 'ready');
    const asked = turnOf(turn);
    assert.equal(await Promise.race([asked, harness.clock.advance(100)]), undefined, 'nothing is told before');
    written.resolve();
    const { state, endedAtUnixMs, result } = await settled(harness, asked);
    assert.equal(state, 'ended');
    assert.equal(result?.status, 'ok');
    assert.equal(endedAtUnixMs, turn.endedAtUnixMs);
  });

  it('that is away keeps a turn from being told as done', async () => {
    const away = new BulkheadError('store_unavailable', 'Away.');
    for (const call of ['startTurn', 'endTurn'] as const) {
      const journal = {
        beginSessions: nothing,
        saveSession: nothing,
        startTurn: nothing,
        endTurn: nothing,
        [call]: () => Promise.reject(away),
      };
      const harness = openKept({ journal });
      const id = await create(harness);
      const turn = await settled(harness, harness.sessions.takeTurn(harness.tenant, id, { code: 'print(1)' }));
      assert.equal((await settled(harness, turn.result)).error?.code, 'store_unavailable', call);
      assert.equal(stateOf(harness, id), 'ready');
    }
  });

  it('has that a session ends before what it slept in is destroyed', async () => {
    const written = Promise.withResolvers<void>();
    const journal = {
      beginSessions: nothing,
      saveSession: ({ state }: SessionRecord) => (state === 'terminating' ? written.promise : nothing()),
      startTurn: nothing,
      endTurn: nothing,
    };
    const harness = openKept({ journal });
    const id = await create(harness);
    await settled(harness, harness.sessions.suspendSession(harness.tenant, id));
    const terminated = harness.sessions.terminateSession(harness.tenant, id);
    await harness.clock.advance(100);
    assert.equal(harness.keeper.kept.size, 1, 'a server killed here leaves a session that can be resumed');
    written.resolve();
    assert.equal((await settled(harness, terminated)).state, 'terminated');
    assert.equal(harness.keeper.kept.size, 0);
  });

  it('that is away for long fails a termination, which can be asked for again', async () => {
    let back = false;
    let giveBack: (() => void) | undefined;
    const journal = {
      beginSessions: nothing,
      saveSession: ({ state }: SessionRecord) =>
        state !== 'terminating' || back ? nothing() : new Promise<void>((resolve) => (giveBack = resolve)),
      startTurn: nothing,
      endTurn: nothing,
    };
    const harness = openKept({ journal });
    const id = await create(harness);
    const refused = harness.sessions.terminateSession(harness.tenant, id);
    refused.catch(() => undefined);
    await harness.clock.advance(10_000);
    await assert.rejects(refused, { code: 'store_unavailable' });
    back = true;
    giveBack?.();
    const terminated = await settled(harness, harness.sessions.terminateSession(harness.tenant, id));
    assert.equal(terminated.state, 'terminated');
  });

  it('that says somebody else has the session ends its machine here', async () => {
    const conflict = new BulkheadError('state_conflict', 'Taken.');
    for (const taken of ['startTurn', 'endTurn'] as const) {
      const journal = {
        beginSessions: nothing,
        saveSession: nothing,
        startTurn: nothing,
        endTurn: nothing,
        [taken]: () => Promise.reject(conflict),
      };
      const harness = openKept({ journal });
      const id = await create(harness);
      const turn = harness.sessions.startTurn(harness.tenant, id, { code: 'print(1)' });
      await harness.clock.advance(200);
      assert.equal((await turn.result).status, 'error', taken);
      assert.equal(harness.runtime.machines.size, 0, taken);
    }
  });
});
