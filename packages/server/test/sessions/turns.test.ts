import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { limits } from '@bulkhead/protocol';
import { collect, createSession, onlyMachine, openHarness, runTurn } from './harness.ts';

describe('a turn', () => {
  it('gives output, results and timings, and keeps variables for the next', async () => {
    const harness = openHarness();
    const session = await createSession(harness);
    await runTurn(harness, session, 'x = 41');
    const result = await runTurn(harness, session, 'print(x)\nx + 1');
    assert.equal(result.status, 'ok');
    assert.equal(result.error, null);
    assert.equal(result.stdout, '41\n');
    assert.deepEqual(result.results, [{ 'text/plain': '42' }]);
    assert.equal(result.context, 'kept');
    assert.equal(result.sessionId, session.id);
    assert.equal(session.record.state, 'ready');
    assert.equal(session.record.turnCount, 2);
  });

  it('ends with turn_failed and the exception when the code raises', async () => {
    const harness = openHarness();
    const session = await createSession(harness);
    const result = await runTurn(harness, session, 'print("before")\n1 / 0');
    assert.equal(result.error?.code, 'turn_failed');
    assert.equal(result.exception?.name, 'ZeroDivisionError');
    assert.equal(result.stdout, 'before\n');
    assert.equal(result.context, 'kept');
    assert.equal((await runTurn(harness, session, 'print("after")')).stdout, 'after\n');
  });

  it('tells the exit code of bash', async () => {
    const harness = openHarness();
    const session = await createSession(harness);
    const result = await runTurn(harness, session, { code: 'echo hi; exit 3', language: 'bash' });
    assert.deepEqual(
      [result.stdout, result.error?.code, result.error?.details],
      ['hi\n', 'turn_failed', { exitCode: 3 }],
    );
  });

  it('ends with context_died when the interpreter ends; the session goes on without its variables', async () => {
    const harness = openHarness();
    const session = await createSession(harness);
    await runTurn(harness, session, 'x = 1');
    const died = await runTurn(harness, session, 'os._exit(3)');
    assert.deepEqual([died.error?.code, died.context, died.error?.details?.['exitCode']], ['context_died', 'lost', 3]);
    assert.equal((await runTurn(harness, session, 'x')).exception?.name, 'NameError');
  });

  it('is refused while another runs', async () => {
    const harness = openHarness();
    const session = await createSession(harness);
    const turn = session.startTurn({ code: 'sleep(1)' });
    assert.throws(() => session.startTurn({ code: '1' }), { code: 'state_conflict' });
    await assert.rejects(session.restartContext('python'), { code: 'state_conflict' });
    await harness.clock.advance(1000);
    assert.equal((await turn.result).status, 'ok');
  });

  it('keeps the session when the agent refuses it', async () => {
    const harness = openHarness();
    const session = await createSession(harness);
    const refused = await runTurn(harness, session, 'fake.busy()');
    assert.deepEqual([refused.error?.code, refused.context], ['state_conflict', 'kept']);
    assert.equal(session.record.state, 'ready');
  });

  for (const [name, request, code] of [
    ['too much code', { code: 'x'.repeat(limits.codeMaxBytes + 1) }, 'limit_exceeded'],
    ['a bad context', { code: '1', context: '../x' }, 'invalid_request'],
    ['no time', { code: '1', timeoutMs: 0 }, 'invalid_request'],
    ['NaN as time', { code: '1', timeoutMs: Number.NaN }, 'invalid_request'],
    ['too much time', { code: '1', timeoutMs: limits.turnTimeoutMaxMs + 1 }, 'invalid_request'],
  ] as const) {
    it(`refuses ${name} and stays ready`, async () => {
      const harness = openHarness();
      const session = await createSession(harness);
      assert.throws(() => session.startTurn(request), { code });
      assert.equal(session.record.state, 'ready');
    });
  }

  it('refuses a language that there is not', async () => {
    const harness = openHarness();
    const session = await createSession(harness);
    // @ts-expect-error: what a caller without types may send.
    assert.throws(() => session.startTurn({ code: '1', language: 'cobol' }), { code: 'invalid_request' });
    assert.equal(session.record.state, 'ready');
  });

  it('takes code of 10 MB', async () => {
    const harness = openHarness();
    const session = await createSession(harness);
    const result = await runTurn(harness, session, `# ${'x'.repeat(10_000_000)}\nprint(7)`);
    assert.equal(result.stdout, '7\n');
  });

  it('restarts a context on demand', async () => {
    const harness = openHarness();
    const session = await createSession(harness);
    await runTurn(harness, session, 'x = 1');
    await session.restartContext('python');
    assert.equal((await runTurn(harness, session, 'x')).exception?.name, 'NameError');
  });
});

describe('the deadline ladder', () => {
  it('interrupts at the limit: turn_timeout, variables kept', async () => {
    const harness = openHarness();
    const session = await createSession(harness);
    await runTurn(harness, session, 'x = 5');
    const turn = session.startTurn({ code: 'while True: pass', timeoutMs: 2000 });
    await harness.clock.advance(1999);
    assert.equal(turn.ended, false);
    await harness.clock.advance(1);
    const result = await turn.result;
    assert.deepEqual([result.error?.code, result.context, result.timings.turnMs], ['turn_timeout', 'kept', 2000]);
    assert.equal((await runTurn(harness, session, 'print(x)')).stdout, '5\n');
    assert.equal(harness.clock.pendingTimers, 1, 'only the limit of idleness is left');
  });

  it('kills an interpreter that does not listen: turn_timeout, variables lost', async () => {
    const harness = openHarness();
    const session = await createSession(harness);
    const turn = session.startTurn({ code: 'fake.ignore_interrupt()', timeoutMs: 100 });
    await harness.clock.advance(100 + limits.interruptGraceMs - 1);
    assert.equal(turn.ended, false);
    await harness.clock.advance(1);
    const result = await turn.result;
    assert.deepEqual([result.error?.code, result.context], ['turn_timeout', 'lost']);
    assert.equal(session.record.state, 'ready');
  });

  it('destroys a machine that does not confirm the kill: turn_timeout, session gone', async () => {
    const harness = openHarness();
    const session = await createSession(harness);
    const turn = session.startTurn({ code: 'fake.ignore_kill()', timeoutMs: 100 });
    await harness.clock.advance(100 + limits.interruptGraceMs + limits.killGraceMs - 1);
    assert.equal(turn.ended, false);
    await harness.clock.advance(1);
    const result = await turn.result;
    assert.deepEqual([result.error?.code, result.context], ['turn_timeout', 'gone']);
    assert.deepEqual([session.record.state, session.record.error?.code], ['failed', 'turn_timeout']);
    assert.equal(harness.runtime.machines.size, 0);
    assert.throws(() => session.startTurn({ code: '1' }), { code: 'session_ended' });
  });

  it('is a timeout even when the code swallows the interrupt', async () => {
    const harness = openHarness();
    const session = await createSession(harness);
    const result = await runTurn(harness, session, { code: 'fake.swallow_interrupt()\nprint(1)', timeoutMs: 50 }, 50);
    assert.deepEqual([result.error?.code, result.context, result.stdout], ['turn_timeout', 'kept', '1\n']);
  });

  it('goes the same way when the caller interrupts, twice being as once', async () => {
    const harness = openHarness();
    const session = await createSession(harness);
    for (const [code, context, afterMs] of [
      ['while True: pass', 'kept', 0],
      ['fake.ignore_interrupt()', 'lost', limits.interruptGraceMs],
      ['fake.ignore_kill()', 'gone', limits.interruptGraceMs + limits.killGraceMs],
    ] as const) {
      const turn = session.startTurn({ code });
      await harness.clock.advance(10);
      turn.interrupt();
      turn.interrupt();
      await harness.clock.advance(afterMs);
      const result = await turn.result;
      assert.deepEqual([result.error?.code, result.context], ['turn_interrupted', context], code);
      turn.interrupt();
    }
  });

  it('is interrupted by the caller’s signal; one that is aborted before stops it from starting', async () => {
    const harness = openHarness();
    const session = await createSession(harness);
    const controller = new AbortController();
    const turn = session.startTurn({ code: 'while True: pass' }, { signal: controller.signal });
    await harness.clock.advance(1);
    controller.abort();
    await harness.clock.advance(0);
    assert.equal((await turn.result).error?.code, 'turn_interrupted');
    assert.throws(() => session.startTurn({ code: '1' }, { signal: controller.signal }), { code: 'cancelled' });
    assert.equal(session.record.state, 'ready');
  });

  it('reports success when the code ended well in spite of the interrupt', async () => {
    const harness = openHarness();
    const session = await createSession(harness);
    const turn = session.startTurn({ code: 'fake.swallow_interrupt()\nprint(1)' });
    await harness.clock.advance(1);
    turn.interrupt();
    await harness.clock.advance(0);
    assert.equal((await turn.result).status, 'ok');
  });

  it('does not fire after the turn has ended', async () => {
    const harness = openHarness();
    const session = await createSession(harness);
    await runTurn(harness, session, { code: '1', timeoutMs: 100 });
    const next = session.startTurn({ code: 'sleep(1)', timeoutMs: 5000 });
    await harness.clock.advance(1000);
    assert.equal((await next.result).status, 'ok');
  });
});

describe('a machine that ends during a turn', () => {
  for (const [verb, code] of [
    ['crash', 'machine_lost'],
    ['violate', 'guest_protocol_violation'],
    ['silence', 'guest_unresponsive'],
  ] as const) {
    it(`${verb}: the turn and the session end with ${code}, output so far is kept, no machine is left`, async () => {
      const harness = openHarness();
      const session = await createSession(harness);
      const result = await runTurn(harness, session, `print("so far")\nfake.${verb}()`);
      assert.deepEqual([result.error?.code, result.context, result.stdout], [code, 'gone', 'so far\n']);
      assert.deepEqual([session.record.state, session.record.error?.code], ['failed', code]);
      await harness.clock.advance(1000);
      assert.equal(harness.runtime.machines.size, 0);
      assert.throws(() => session.startTurn({ code: '1' }), { code: 'session_ended' });
      assert.throws(() => session.guest, { code: 'session_ended' });
    });
  }

  it('crashes in the middle of a wait', async () => {
    const harness = openHarness();
    const session = await createSession(harness);
    const turn = session.startTurn({ code: 'sleep(10)' });
    await harness.clock.advance(5);
    onlyMachine(harness).crash();
    await harness.clock.advance(200);
    assert.equal((await turn.result).error?.code, 'machine_lost');
    assert.deepEqual(harness.transitions, ['creating', 'ready', 'busy', 'failed']);
    assert.equal(harness.clock.pendingTimers, 0);
  });

  it('fails an idle session, too', async () => {
    const harness = openHarness();
    const session = await createSession(harness);
    onlyMachine(harness).crash();
    await harness.clock.advance(0);
    assert.deepEqual([session.record.state, session.record.error?.code], ['failed', 'machine_lost']);
  });

  it('is destroyed when its idle channel breaks the protocol', async () => {
    const harness = openHarness();
    const session = await createSession(harness);
    onlyMachine(harness).guest.end('protocol_violation', 'an idle violation');
    await harness.clock.advance(0);
    assert.deepEqual([session.record.state, session.record.error?.code], ['failed', 'guest_protocol_violation']);
    assert.equal(harness.runtime.machines.size, 0);
  });
});

describe('the events of a turn', () => {
  it('are the same for every reader, from every cursor', async () => {
    const harness = openHarness();
    const session = await createSession(harness);
    const turn = session.startTurn({ code: 'print(1)\nsleep(1)\nfake.stderr("e")\nfake.figure()\n2' });
    const early = collect(turn.events());
    await harness.clock.advance(1000);
    const all = await early;
    assert.deepEqual(
      all.map((event) => event.type),
      ['stdout', 'stderr', 'display', 'result', 'end'],
    );
    assert.deepEqual(
      all.map((event) => event.seq),
      [1, 2, 3, 4, 5],
    );
    for (let cursor = 0; cursor <= all.length; cursor += 1) {
      assert.deepEqual(await collect(turn.events(cursor)), all.slice(cursor));
    }
    assert.deepEqual(
      await collect(harness.sessions.getTurn(harness.tenant, session.id, turn.id).events(3)),
      all.slice(3),
    );
  });

  it('let the next turn start as soon as the end is seen', async () => {
    const harness = openHarness();
    const session = await createSession(harness);
    const turn = session.startTurn({ code: '1' });
    for await (const event of turn.events()) {
      if (event.type === 'end') assert.equal(session.record.state, 'ready');
    }
  });

  it('stay within the output bound and say truthfully what was dropped, by whom it may be', async () => {
    const harness = openHarness();
    const session = await createSession(harness);
    const extra = 1_000_000;
    const turn = session.startTurn({ code: `fake.flood(${limits.turnOutputMaxBytes + extra})\nfake.drop(5)` });
    await harness.clock.advance(1000);
    const result = await turn.result;
    assert.equal(result.status, 'ok');
    assert.equal(result.stdout.length, limits.turnOutputMaxBytes);
    assert.equal(result.truncated.stdoutBytes, extra + 5);
    const truncated = (await collect(turn.events())).filter((event) => event.type === 'truncated');
    assert.deepEqual(
      truncated.map(({ stream, droppedBytes, exact }) => ({ stream, droppedBytes, exact })),
      [{ stream: 'stdout', droppedBytes: extra + 5, exact: true }],
    );
  });

  it('are not exact about what was dropped when the machine was lost', async () => {
    const harness = openHarness();
    const session = await createSession(harness);
    const turn = session.startTurn({ code: `fake.flood(${limits.turnOutputMaxBytes + 10})\nfake.crash()` });
    await harness.clock.advance(1000);
    const event = (await collect(turn.events())).find(({ type }) => type === 'truncated');
    assert.ok(event?.type === 'truncated' && !event.exact && event.droppedBytes === 10);
  });

  it('replace what is no UTF-8', async () => {
    const harness = openHarness();
    const session = await createSession(harness);
    const result = await runTurn(harness, session, 'fake.bytes("e282")\nfake.bytes("ac41ff42c3")');
    assert.equal(result.stdout, '€A\u{FFFD}B\u{FFFD}');
  });

  it('keep only so many finished turns', async () => {
    const harness = openHarness();
    const session = await createSession(harness);
    const first = session.startTurn({ code: '1' });
    await first.result;
    for (let n = 0; n < 40; n += 1) await runTurn(harness, session, '1');
    assert.throws(() => harness.sessions.getTurn(harness.tenant, session.id, first.id), { code: 'not_found' });
  });
});
