// What goes wrong from outside: a machine's process dies, the whole server dies.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { type ContractCase, isAlive, launch, needsCode } from './contract-case.ts';

export const faultCases: readonly ContractCase[] = [
  {
    name: 'crash: each process of a machine takes all of it along, and everybody is told',
    needs: needsCode,
    async run(context) {
      const count = await (async (): Promise<number> => {
        await using machine = await launch(context);
        return Math.min(machine.hostPids.length, 3);
      })();
      assert.ok(count > 0, 'it has processes');
      for (let index = 0; index < count; index++) {
        await using machine = await launch(context);
        const pids = [...machine.hostPids];
        process.kill(pids[index] ?? 0, 'SIGKILL');
        const { reason } = await machine.exited;
        assert.equal(reason, 'crashed');
        await assert.rejects(machine.guest.ping(), { code: 'machine_lost' });
        assert.deepEqual(pids.filter(isAlive), []);
        assert.deepEqual(
          (await context.runtime.list()).filter(({ id }) => id === machine.id),
          [],
        );
      }
    },
  },
  {
    name: 'host crash: after the sweep nothing is left of a server that was killed',
    needs: (capabilities, { victim }) =>
      needsCode(capabilities) ?? (victim === undefined ? 'no process of its own is given for it' : undefined),
    async run({ subject, runtime }) {
      const { victim } = subject;
      assert.ok(victim);
      const server = spawn(process.execPath, ['--conditions=bulkhead-source', victim.file], {
        env: { ...victim.environment },
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const exited = once(server, 'exit');
      const [line]: unknown[] = await Promise.race([once(createInterface(server.stdout), 'line'), exited]);
      const [machine, ...words] = String(line).split(' ');
      const pids = words.map(Number);
      assert.ok(pids.length > 0 && pids.every(isAlive), 'the control: it runs');
      server.kill('SIGKILL');
      await exited;
      await runtime.sweep();
      const deadline = performance.now() + 5000;
      while (pids.some(isAlive) && performance.now() < deadline) await new Promise(setImmediate);
      assert.deepEqual(pids.filter(isAlive), []);
      assert.deepEqual(
        (await runtime.list()).filter(({ id }) => id === machine),
        [],
      );
      assert.deepEqual(await runtime.sweep(), [], 'a second sweep finds nothing');
    },
  },
];
