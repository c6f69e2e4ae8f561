import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BulkheadError, limits, makeId } from '@bulkhead/protocol';
import { mulberry32, seededPlan } from '../../src/runtimes/fake/fake-runtime.ts';
import type { CreateSessionRequest } from '../../src/sessions/sessions.ts';
import type { Turn } from '../../src/sessions/turn.ts';
import { createSession, onlyMachine, openHarness, runTurn } from './harness.ts';

describe('creating a session', () => {
  it('makes one machine for it and says where it runs', async () => {
    const harness = openHarness();
    const session = await createSession(harness);
    const machine = onlyMachine(harness);
    assert.equal(session.record.state, 'ready');
    assert.equal(session.record.machine, machine.id);
    assert.equal(session.record.bootId, machine.bootId);
    assert.equal(session.record.tier, 'none');
    assert.deepEqual(machine.spec, { tenant: harness.tenant, session: session.id, size: 'small' });
  });

  it('refuses a size that there is not', async () => {
    const harness = openHarness();
    // @ts-expect-error: what a caller without types may send.
    const request: CreateSessionRequest = { tenant: harness.tenant, size: 'huge' };
    await assert.rejects(harness.sessions.createSession(request), {
      code: 'invalid_request',
    });
    assert.deepEqual(harness.transitions, []);
  });

  for (const [kind, code] of [
    ['fail', 'launch_failed'],
    ['full', 'capacity_exhausted'],
  ] as const) {
    it(`${kind}: rejects with ${code}; the session has failed`, async () => {
      const harness = openHarness({ plan: () => ({ kind }) });
      await assert.rejects(createSession(harness), { code });
      const [record] = harness.sessions.listSessions(harness.tenant);
      assert.deepEqual([record?.state, record?.error?.code], ['failed', code]);
      assert.equal(harness.clock.pendingTimers, 0);
    });
  }

  it('rejects when what a launch needs cannot be made', async () => {
    const harness = openHarness({ prepareFails: true });
    await assert.rejects(createSession(harness), { code: 'template_failed' });
  });

  for (const kind of ['hang', 'deaf'] as const) {
    it(`${kind}: gives up after the launch limit`, async () => {
      const harness = openHarness({ plan: () => ({ kind }) });
      const creating = harness.sessions.createSession({ tenant: harness.tenant });
      const rejected = assert.rejects(creating, { code: 'launch_timeout' });
      await harness.clock.advance(limits.launchTimeoutMs);
      await rejected;
      assert.equal(harness.runtime.machines.size, 0);
    });
  }

  it('answers a cancellation at once and releases the machine that comes late', async () => {
    const harness = openHarness({ plan: () => ({ kind: 'late', delayMs: 500, destroy: 50 }) });
    const controller = new AbortController();
    const creating = harness.sessions.createSession({ tenant: harness.tenant }, { signal: controller.signal });
    const rejected = assert.rejects(creating, { code: 'cancelled' });
    await harness.clock.advance(10);
    controller.abort();
    await harness.clock.advance(0);
    await rejected;
    await harness.clock.advance(500);
    assert.equal(harness.runtime.machines.size, 1);
    await harness.clock.advance(50);
    assert.equal(harness.runtime.machines.size, 0);
    assert.deepEqual(harness.transitions, ['creating', 'failed']);
    assert.equal(harness.clock.pendingTimers, 0);
  });

  it('does not launch at all for a signal that is already aborted', async () => {
    const harness = openHarness();
    await assert.rejects(harness.sessions.createSession({ tenant: harness.tenant }, { signal: AbortSignal.abort() }), {
      code: 'cancelled',
    });
    await harness.clock.advance(0);
    assert.equal(harness.runtime.machines.size, 0);
  });
});

describe('terminating a session', () => {
  it('while it is created: the creator is told, the late machine is gone before it answers', async () => {
    const harness = openHarness({ plan: () => ({ kind: 'late', delayMs: 300, destroy: 20 }) });
    const { id, ready } = harness.sessions.beginSession({ tenant: harness.tenant });
    await harness.clock.advance(100);
    let terminated = false;
    const termination = harness.sessions.terminateSession(harness.tenant, id).then((record) => {
      terminated = true;
      return record;
    });
    await assert.rejects(ready, { code: 'session_ended' });
    await harness.clock.advance(219);
    assert.equal(terminated, false);
    await harness.clock.advance(1);
    assert.equal((await termination).state, 'terminated');
    assert.equal(harness.runtime.machines.size, 0);
    assert.deepEqual(harness.transitions, ['creating', 'terminating', 'terminated']);
  });

  it('during a turn: the turn ends with session_ended, and nobody fails the session', async () => {
    const harness = openHarness();
    const session = await createSession(harness);
    const turn = session.startTurn({ code: 'sleep(100)' });
    const termination = session.terminate();
    const result = await turn.result;
    assert.deepEqual([result.error?.code, result.context], ['session_ended', 'gone']);
    assert.equal((await termination).state, 'terminated');
    await harness.clock.advance(limits.turnTimeoutDefaultMs);
    assert.deepEqual(harness.transitions, ['creating', 'ready', 'busy', 'terminating', 'terminated']);
    assert.equal(harness.clock.pendingTimers, 0);
  });

  it('is idempotent: many callers, one transition, one answer', async () => {
    const harness = openHarness({ plan: () => ({ kind: 'ok', destroy: 30 }) });
    const session = await createSession(harness);
    const calls = [1, 2, 3].map(() => harness.sessions.terminateSession(harness.tenant, session.id));
    await harness.clock.advance(30);
    const records = await Promise.all(calls);
    assert.ok(records.every((record) => record === records[0] && record.state === 'terminated'));
    assert.equal((await session.terminate()).generation, records[0]?.generation);
    assert.throws(() => session.startTurn({ code: '1' }), { code: 'session_ended' });
  });

  it('says so when the machine does not go', async () => {
    const harness = openHarness({ plan: () => ({ kind: 'ok', destroy: 'stuck' }) });
    const session = await createSession(harness);
    const record = await session.terminate();
    assert.deepEqual([record.state, record.error?.code], ['failed', 'internal']);
  });

  it('keeps the reason of a session that had failed before', async () => {
    const harness = openHarness();
    const session = await createSession(harness);
    await runTurn(harness, session, 'fake.violate()');
    const record = await session.terminate();
    assert.deepEqual([record.state, record.error?.code], ['failed', 'guest_protocol_violation']);
  });

  it('happens when the handle is disposed, and to all when everything is closed', async () => {
    const harness = openHarness();
    {
      await using session = await createSession(harness);
      assert.equal(session.record.state, 'ready');
    }
    assert.equal(harness.runtime.machines.size, 0);
    await createSession(harness);
    await createSession(harness);
    await harness.sessions.close();
    assert.equal(harness.runtime.machines.size, 0);
    await assert.rejects(harness.sessions.createSession({ tenant: harness.tenant }), { code: 'state_conflict' });
  });
});

describe('tenants', () => {
  it('do not see each other: the same answer, byte for byte, as for what does not exist', async () => {
    const harness = openHarness();
    const session = await createSession(harness);
    const stranger = makeId('tenant');
    const gone = makeId('session');
    const calls: ((id: typeof gone) => unknown)[] = [
      (id) => harness.sessions.getSession(stranger, id),
      (id) => harness.sessions.startTurn(stranger, id, { code: '1' }),
      (id) => harness.sessions.getTurn(stranger, id, makeId('turn')),
      (id) => harness.sessions.restartContext(stranger, id, 'python'),
      (id) => harness.sessions.guestOf(stranger, id),
      (id) => harness.sessions.terminateSession(stranger, id),
    ];
    const answer = async (call: (id: typeof gone) => unknown, id: typeof gone): Promise<string> => {
      try {
        await call(id);
        return 'answered';
      } catch (error) {
        return JSON.stringify(error).replaceAll(id, 'ID');
      }
    };
    for (const call of calls) {
      const foreign = await answer(call, session.id);
      assert.match(foreign, /"not_found"/);
      assert.equal(foreign, await answer(call, gone));
    }
    assert.deepEqual(harness.sessions.listSessions(stranger), []);
    assert.equal(harness.sessions.listSessions(harness.tenant).length, 1);
    assert.equal(session.record.state, 'ready');
  });
});

describe('the guest of a session', () => {
  it('takes files, commands and processes, during a turn as well', async () => {
    const harness = openHarness();
    const session = await createSession(harness);
    assert.ok(session.startTurn({ code: 'sleep(9)' }));
    const content = new TextEncoder().encode('hello');
    await session.guest.writeFile(
      'a.txt',
      (async function* chunks() {
        yield content;
      })(),
      5,
    );
    const read: Uint8Array[] = [];
    for await (const chunk of session.guest.readFile('a.txt')) read.push(chunk);
    assert.equal(Buffer.concat(read).toString(), 'hello');
    await assert.rejects(session.guest.stat('nothing'), { code: 'file_error' });
    const exec = session.guest.exec({ argv: ['echo', 'hi'] });
    assert.equal((await exec.outcome).exitCode, 0);
  });

  it('is not there while the session is created', () => {
    const harness = openHarness();
    const { id, ready } = harness.sessions.beginSession({ tenant: harness.tenant });
    ready.catch(() => undefined);
    assert.throws(() => harness.sessions.guestOf(harness.tenant, id), { code: 'state_conflict' });
  });
});

describe('any interleaving', () => {
  // Sixty seeds of random acts against random launches: the state table holds, every promise settles, nothing is left.
  for (let seed = 1; seed <= 60; seed += 1) {
    it(`seed ${seed} ends in a clean slate`, async () => {
      const random = mulberry32(seed);
      const harness = openHarness({ plan: seededPlan(seed) });
      const ids: ReturnType<typeof harness.sessions.beginSession>['id'][] = [];
      const turns: Turn[] = [];
      const controllers: AbortController[] = [];
      const acts: (() => void)[] = [
        () => {
          const controller = new AbortController();
          controllers.push(controller);
          ids.push(harness.sessions.beginSession({ tenant: harness.tenant }, { signal: controller.signal }).id);
        },
        () => controllers[Math.floor(random() * controllers.length)]?.abort(),
        () => {
          const codes = ['sleep(0.05)', 'while True: pass', 'fake.ignore_kill()', 'fake.crash()', 'os._exit(1)', '1'];
          const id = ids[Math.floor(random() * ids.length)];
          if (id === undefined) return;
          const code = codes[Math.floor(random() * codes.length)] ?? '1';
          turns.push(
            harness.sessions.startTurn(harness.tenant, id, { code, timeoutMs: 1 + Math.floor(random() * 100) }),
          );
        },
        () => turns.at(-1)?.interrupt(),
        () => {
          const id = ids[Math.floor(random() * ids.length)];
          if (id !== undefined) void harness.sessions.terminateSession(harness.tenant, id);
        },
        () => [...harness.runtime.machines.values()][0]?.crash(),
      ];
      for (let step = 0; step < 60; step += 1) {
        try {
          acts[Math.floor(random() * acts.length)]?.();
        } catch (error) {
          assert.ok(
            BulkheadError.is(error, 'state_conflict') || BulkheadError.is(error, 'session_ended'),
            String(error),
          );
        }
        if (random() < 0.7) await harness.clock.advance(Math.floor(random() * 60));
      }
      const closing = harness.sessions.close();
      await harness.clock.advance(limits.launchTimeoutMs);
      await closing;
      for (const turn of turns) assert.ok((await turn.result).context);
      assert.equal(harness.runtime.machines.size, 0);
      assert.equal(harness.clock.pendingTimers, 0);
      for (const record of harness.sessions.listSessions(harness.tenant)) {
        assert.match(record.state, /^(?:terminated|failed)$/);
      }
    });
  }
});
