// Code that misbehaves: each ends in a typed error or a truthful marker, the session's state afterwards is what the outcome says,
// and a session beside it works on.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { type ContextFate, type ErrorCode, limits, makeId } from '@bulkhead/protocol';
import type { SessionHandle } from '@bulkhead/server';
import { findMachines } from '../../packages/server/src/runtimes/machine-name.ts';
import { onEveryRuntime, openSession, output, turn, useBulkhead } from './support.ts';

interface Misuse {
  readonly name: string;
  readonly code: string;
  readonly language?: 'python' | 'javascript' | 'bash';
  readonly timeoutMs?: number;
  readonly codes: readonly (ErrorCode | 'ok')[];
  readonly fate: readonly ContextFate[];
  /** It takes memory as quickly as it can: a runtime may declare that this ends the machine (`memoryOverrun`). */
  readonly overruns?: boolean;
}

const misuses: readonly Misuse[] = [
  { name: 'sys.exit()', code: 'import sys; sys.exit(3)', codes: ['turn_failed'], fate: ['kept'] },
  { name: 'os._exit(1)', code: 'import os; os._exit(1)', codes: ['context_died'], fate: ['lost'] },
  { name: 'a killed interpreter', code: 'import os; os.kill(os.getpid(), 9)', codes: ['context_died'], fate: ['lost'] },
  { name: 'a segmentation fault', code: 'import ctypes; ctypes.string_at(0)', codes: ['context_died'], fate: ['lost'] },
  {
    name: 'a loop that refuses to be interrupted',
    code: 'import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True:\n    try:\n        while True: pass\n    except BaseException: pass',
    timeoutMs: 1500,
    codes: ['turn_timeout'],
    fate: ['lost'],
  },
  {
    name: 'a fork bomb',
    code: ':(){ :|:& };:; wait',
    language: 'bash',
    timeoutMs: 8000,
    codes: ['turn_timeout', 'turn_failed', 'context_died', 'ok'],
    overruns: true,
    fate: ['kept', 'lost'],
  },
  {
    name: 'a fork bomb in Python',
    code: 'import os\nwhile True:\n    try: os.fork()\n    except OSError: pass',
    timeoutMs: 8000,
    codes: ['turn_timeout', 'context_died'],
    overruns: true,
    fate: ['kept', 'lost'],
  },
  {
    name: 'all memory',
    code: 'x = []\nwhile True: x.append(bytearray(10_000_000))',
    timeoutMs: 60_000,
    codes: ['context_died', 'turn_failed'],
    overruns: true,
    fate: ['lost', 'kept'],
  },
  {
    name: 'a full disk',
    code: 'dd if=/dev/zero of=big bs=1M 2>/dev/null; code=$?; rm -f big; exit_with() { return $1; }; exit_with $code',
    language: 'bash',
    timeoutMs: 90_000,
    codes: ['turn_failed'],
    fate: ['kept'],
  },
  { name: 'reading standard input', code: 'input()', codes: ['turn_failed'], fate: ['kept'] },
  { name: 'deep recursion', code: 'def f(): return f()\nf()', codes: ['turn_failed'], fate: ['kept'] },
  { name: 'process.exit()', code: 'process.exit(2)', language: 'javascript', codes: ['context_died'], fate: ['lost'] },
  {
    name: 'an endless loop in javascript',
    code: 'for (;;) {}',
    language: 'javascript',
    timeoutMs: 6000,
    codes: ['turn_timeout'],
    fate: ['kept', 'lost'],
  },
];

await onEveryRuntime((runtime) => {
  let neighbour: SessionHandle;
  const bulkhead = useBulkhead(async (opened) => {
    neighbour = await openSession(opened);
    await output(neighbour, 'steady = 7');
  }, runtime);

  async function neighbourAnswers(): Promise<void> {
    assert.equal(await output(neighbour, 'print(steady)'), '7');
  }

  for (const misuse of misuses) {
    test(`${misuse.name} ends in a typed error, and the session says what is left`, async (context: TestContext) => {
      await using session = await openSession(bulkhead());
      await output(session, 'mine = 1');
      const started = performance.now();
      const { language = 'python', timeoutMs = 30_000 } = misuse;
      const result = await turn(session, misuse.code, { language, timeoutMs });
      const elapsedMs = performance.now() - started;
      context.diagnostic(`${result.error?.code ?? 'ok'}, context ${result.context}, ${Math.round(elapsedMs)} ms`);
      if (result.context === 'gone' && misuse.overruns === true) {
        assert.equal(bulkhead().runtime.capabilities.memoryOverrun, 'machine', JSON.stringify(result.error));
        assert.equal(result.error?.code, 'machine_lost');
        await neighbourAnswers();
        return;
      }
      assert.ok(
        misuse.codes.includes(result.error?.code ?? 'ok'),
        `${JSON.stringify(result.error)} ${result.stderr.slice(-500)}`,
      );
      assert.ok(misuse.fate.includes(result.context), `context ${result.context}`);
      assert.ok(elapsedMs < timeoutMs + limits.interruptGraceMs + limits.killGraceMs + 2000, `${elapsedMs} ms`);
      // The answer to "is my session still usable?", held to its word.
      assert.equal(await output(session, 'print("usable")'), 'usable');
      if (language === 'python' && result.context === 'kept') assert.equal(await output(session, 'print(mine)'), '1');
      await neighbourAnswers();
    });
  }

  test('a session may use the memory of its size, also what its template has never touched', async () => {
    await using session = await bulkhead().sessions.createSession({ tenant: makeId('tenant'), size: 'medium' });
    const code = 'blocks = [bytearray(b"x") * 10_000_000 for _ in range(70)]\nprint(sum(map(len, blocks)))';
    const result = await turn(session, code, { timeoutMs: 120_000 });
    assert.equal(result.stdout, '700000000\n', JSON.stringify(result.error));
  });

  test('a gigabyte of output is cut truthfully, and the host keeps little of it', async () => {
    await using session = await openSession(bulkhead());
    await output(session, '1');
    const rssBefore = process.memoryUsage().rss;
    const size = 1_000_000_000;
    const result = await turn(
      session,
      `import os\nblock = b"x" * 1_000_000\nfor i in range(1000): os.write(1, block)`,
      {
        timeoutMs: 240_000,
      },
    );
    assert.equal(result.status, 'ok', JSON.stringify(result.error));
    assert.equal(Buffer.byteLength(result.stdout) + result.truncated.stdoutBytes, size);
    assert.ok(Buffer.byteLength(result.stdout) <= limits.turnOutputMaxBytes);
    const grownMb = (process.memoryUsage().rss - rssBefore) / 1e6;
    assert.ok(grownMb < 128, `the host grew by ${grownMb.toFixed(0)} MB`);
    await neighbourAnswers();
  });

  test('one line of 200 MB, invalid UTF-8 and binary output come back as text with a count of what was cut', async () => {
    await using session = await openSession(bulkhead());
    const long = await turn(session, 'import sys\nfor i in range(200): sys.stdout.write("y" * 1_000_000)', {
      timeoutMs: 120_000,
    });
    assert.equal(Buffer.byteLength(long.stdout) + long.truncated.stdoutBytes, 200_000_000);
    const invalid = await turn(session, 'import os; os.write(1, b"a\\xff\\xfe\\xc3(b\\xe2\\x82")');
    assert.equal(invalid.stdout, 'a\ufffd\ufffd\ufffd(b\ufffd');
    const binary = await turn(session, 'import os; os.write(1, bytes(range(256)) * 100)');
    assert.equal(binary.status, 'ok');
    assert.ok(binary.stdout.includes('\0'));
  });

  test('code of 10 MB runs, and more than the limit is refused', async () => {
    await using session = await openSession(bulkhead());
    const padding = '#'.repeat(10 * 1024 * 1024);
    const result = await turn(session, `${padding}\nprint("long")`);
    assert.equal(result.stdout, 'long\n', JSON.stringify(result.error));
    await assert.rejects(async () => turn(session, '#'.repeat(limits.codeMaxBytes + 1)), { code: 'limit_exceeded' });
  });

  test('the guest can end its whole machine; the turn, the session and nobody else are told', async () => {
    const session = await openSession(bulkhead());
    const machine = (await bulkhead().runtime.list()).find((record) => record.session === session.id);
    assert.ok(machine !== undefined);
    const running = session.startTurn({ code: 'import time; time.sleep(60)' });
    // Guest code is an ordinary user and has no such right; a guest kernel that has been taken over does it to itself.
    for (const { pid } of findMachines().filter(({ id }) => id === machine.id)) process.kill(pid, 'SIGKILL');
    const result = await running.result;
    assert.equal(result.error?.code, 'machine_lost');
    assert.equal(result.context, 'gone');
    await assert.rejects(async () => turn(session, '1'), { code: /session_ended|machine_lost/ });
    await session.terminate();
    await neighbourAnswers();
  });
});
