// What a session does in its machine: the channel, turns, files, processes, limits.

import assert from 'node:assert/strict';
import { type ContractCase, launch, needsCode, run } from './contract-case.ts';

const bounds = { maxOutputBytes: 65_536, maxEventBytes: 65_536 };

export const guestCases: readonly ContractCase[] = [
  {
    name: 'channel: answers, and is closed when the machine ends',
    async run(context) {
      const machine = await launch(context);
      await machine.guest.ping();
      await machine.destroy('destroyed', 'the contract');
      const { reason } = await machine.guest.ended;
      assert.equal(reason, 'closed');
    },
  },
  {
    name: 'turns: variables live on from one to the next',
    async run(context) {
      await using machine = await launch(context);
      await run(machine, 'x = 41');
      assert.equal(await run(machine, 'print(x + 1)'), '42');
    },
  },
  {
    name: 'turns: every language',
    needs: needsCode,
    async run(context) {
      await using machine = await launch(context);
      assert.equal(await run(machine, 'echo $((6 * 7))', 'bash'), '42');
      assert.equal(await run(machine, 'console.log(6 * 7)', 'javascript'), '42');
    },
  },
  {
    name: 'turns: what raises says so, and the context is kept',
    async run(context) {
      await using machine = await launch(context);
      await run(machine, 'x = 41');
      const code = Buffer.from('raise ValueError("no")');
      const turn = machine.guest.run({ language: 'python', context: 'default', code, ...bounds });
      const events = await Array.fromAsync(turn.events);
      const { status, fate } = await turn.outcome;
      assert.deepEqual([status, fate], ['error', 'kept']);
      assert.ok(events.some((event) => event.type === 'exception' && event.exception.name === 'ValueError'));
      assert.equal(await run(machine, 'print(x)'), '41');
    },
  },
  {
    name: 'turns: one that never ends is interrupted',
    async run(context) {
      await using machine = await launch(context);
      await run(machine, 'x = 41');
      const code = Buffer.from('while True: pass');
      const turn = machine.guest.run({ language: 'python', context: 'default', code, ...bounds });
      const timer = setInterval(() => turn.interrupt(), 200);
      for await (const _event of turn.events);
      clearInterval(timer);
      assert.equal((await turn.outcome).status, 'interrupted');
      assert.equal(await run(machine, 'print(x)'), '41');
    },
  },
  {
    name: 'turns: an interpreter that ends is told, and the next turn has another',
    needs: needsCode,
    async run(context) {
      await using machine = await launch(context);
      const code = Buffer.from('import os; os._exit(3)');
      const turn = machine.guest.run({ language: 'python', context: 'default', code, ...bounds });
      for await (const _event of turn.events);
      const { status, fate, exitCode } = await turn.outcome;
      assert.deepEqual([status, fate, exitCode], ['died', 'lost', 3]);
      assert.equal(await run(machine, 'print("again")'), 'again');
    },
  },
  {
    name: 'files: what was written is what is read; what is not there says so',
    async run(context) {
      await using machine = await launch(context);
      const content = Buffer.from(Array.from({ length: 300_000 }, (_, n) => n % 251));
      await machine.guest.writeFile('data.bin', one(content), content.length);
      const read = Buffer.concat(await Array.fromAsync(machine.guest.readFile('data.bin')));
      assert.ok(read.equals(content));
      assert.equal((await machine.guest.stat('data.bin')).sizeBytes, content.length);
      const { entries } = await machine.guest.listFiles('/home/user');
      assert.ok(entries.some(({ name }) => name === 'data.bin'));
      await assert.rejects(Array.fromAsync(machine.guest.readFile('absent')), { code: 'file_error' });
    },
  },
  {
    name: 'processes: output, exit code, background and its end',
    needs: needsCode,
    async run(context) {
      await using machine = await launch(context);
      const exec = machine.guest.exec({ argv: ['sh', '-c', 'echo out; echo err >&2; exit 7'] });
      const output = await Array.fromAsync(exec.output);
      const text = (stream: string): string =>
        output
          .filter((part) => part.stream === stream)
          .map(({ bytes }) => Buffer.from(bytes).toString())
          .join('');
      assert.deepEqual([text('stdout'), text('stderr'), (await exec.outcome).exitCode], ['out\n', 'err\n', 7]);
      const id = await machine.guest.startProcess({ argv: ['sleep', '1000'] });
      assert.ok((await machine.guest.listProcesses()).some(({ process, running }) => process === id && running));
      await machine.guest.killProcess(id);
      const ended = (await machine.guest.listProcesses()).find(({ process }) => process === id);
      assert.notEqual(ended?.running, true);
    },
  },
  {
    name: 'limits: output beyond its bound is counted, not kept',
    needs: needsCode,
    async run(context) {
      await using machine = await launch(context);
      const code = Buffer.from('import os\nfor _ in range(64): os.write(1, b"x" * 65536)');
      const turn = machine.guest.run({ language: 'python', context: 'default', code, ...bounds });
      let kept = 0;
      for await (const event of turn.events) if (event.type === 'stdout') kept += event.bytes.length;
      const { dropped } = await turn.outcome;
      assert.ok(kept <= bounds.maxOutputBytes);
      assert.equal(kept + dropped.stdout, 64 * 65_536);
    },
  },
  {
    name: 'surroundings: an ordinary user, no network, a root that is nobody else’s',
    needs: needsCode,
    async run(context) {
      await using machine = await launch(context);
      assert.equal(await run(machine, 'id -u', 'bash'), '1000');
      const look = [
        'import os, socket',
        'print(sorted(name for _, name in socket.if_nameindex() if name != "lo"))',
        'try: open("/etc/passwd", "a")',
        'except OSError as error: print(type(error).__name__)',
        'try: socket.create_connection(("169.254.169.254", 80), 1)',
        'except OSError: print("no way out")',
      ];
      assert.equal(await run(machine, look.join('\n')), '[]\nPermissionError\nno way out');
      await using other = await launch(context);
      await run(machine, 'open("/tmp/mine", "w").write("secret")');
      assert.equal(await run(other, 'import os; print(os.path.exists("/tmp/mine"))'), 'False');
      assert.equal(await run(machine, 'import os; print(os.path.exists("/tmp/mine"))'), 'True', 'the control');
    },
  },
];

async function* one(content: Uint8Array): AsyncGenerator<Uint8Array, void, void> {
  yield content;
}
