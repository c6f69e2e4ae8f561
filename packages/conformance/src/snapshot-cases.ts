// Standing still, sleeping, waking, being copied: by content, because a machine that answers need not be the one that was captured.

import assert from 'node:assert/strict';
import { fstatSync, readSync, writeSync } from 'node:fs';
import { makeId } from '@bulkhead/protocol';
import {
  type ContractCase,
  again,
  all,
  capture,
  launch,
  needsCode,
  needsFork,
  needsSuspend,
  openKeeping,
  run,
  specOf,
} from './contract-case.ts';

export const snapshotCases: readonly ContractCase[] = [
  {
    name: 'snapshot: variables are there after the machine has ended',
    needs: needsSuspend,
    async run(context) {
      using keeping = openKeeping();
      const machine = await launch(context);
      const { spec, epoch } = machine;
      await run(machine, 'x = 41');
      const { source, facts } = await capture(machine, keeping);
      assert.equal(facts.epoch, epoch);
      await machine.destroy('destroyed', 'it sleeps');
      await using woken = await context.runtime.restore(spec, source, { renew: false });
      assert.notEqual(woken.id, machine.id);
      assert.ok(woken.epoch > epoch, 'the identity is a new one');
      assert.equal(await run(woken, 'print(x + 1)'), '42');
      context.note(`${(facts.bytes / 1e6).toFixed(1)} MB, stood still for ${facts.pausedMs.toFixed(0)} ms`);
    },
  },
  {
    name: 'snapshot: files, processes and every language go on; the boot is the same',
    needs: all(needsSuspend, needsCode),
    async run(context) {
      using keeping = openKeeping();
      const machine = await launch(context);
      const { spec, bootId } = machine;
      await run(machine, 'sleep 1000 & pid=$!; echo kept > file', 'bash');
      await run(machine, 'globalThis.y = 5', 'javascript');
      const { source } = await capture(machine, keeping);
      await machine.destroy('destroyed', 'it sleeps');
      await using woken = await context.runtime.restore(spec, source, { renew: false });
      assert.equal(woken.bootId, bootId);
      assert.equal(await run(woken, 'kill -0 $pid && cat file', 'bash'), 'kept');
      assert.equal(await run(woken, 'console.log(y)', 'javascript'), '5');
      const inside = Number(await run(woken, 'import time; print(time.time() * 1000)'));
      assert.ok(Math.abs(inside - Date.now()) < 2000, 'the clock is right');
    },
  },
  {
    name: 'snapshot: nothing of it can be read in the file',
    needs: all(needsSuspend, needsCode),
    async run(context) {
      using keeping = openKeeping();
      await using machine = await launch(context);
      const secret = `secret-${makeId('session')}`;
      await run(machine, `x = ${JSON.stringify(secret)} * 100; open("file", "w").write(x)`);
      await capture(machine, keeping);
      const bytes = Buffer.alloc(fstatSync(keeping.fd).size);
      readSync(keeping.fd, bytes, 0, bytes.length, 0);
      assert.ok(bytes.length > 1_000_000 && bytes.includes('BHSNAP01'), 'the control');
      assert.ok(!bytes.includes(secret));
    },
  },
  {
    name: 'snapshot: a captured machine goes on, in a new epoch',
    needs: needsSuspend,
    async run(context) {
      using keeping = openKeeping();
      await using machine = await launch(context);
      const { epoch } = machine;
      await run(machine, 'x = 41');
      await capture(machine, keeping);
      await machine.resume();
      assert.ok(machine.epoch > epoch);
      assert.equal(await run(machine, 'print(x + 1)'), '42');
    },
  },
  {
    name: 'snapshot: another epoch’s is refused, and nothing runs',
    needs: needsSuspend,
    async run(context) {
      using keeping = openKeeping();
      const machine = await launch(context);
      const { spec } = machine;
      const { source } = await capture(machine, keeping);
      await machine.destroy('destroyed', 'it sleeps');
      const wrong = { ...source, epoch: source.epoch + 1 };
      await assert.rejects(context.runtime.restore(spec, wrong, { renew: false }), { code: 'snapshot_invalid' });
      assert.deepEqual(
        (await context.runtime.list()).filter(({ tenant }) => tenant === context.tenant),
        [],
      );
      await using woken = await context.runtime.restore(spec, again(source, keeping), { renew: false });
      await woken.guest.ping(); // the control
    },
  },
  {
    name: 'snapshot: another tenant’s, another key’s and a damaged one are refused, and nothing runs',
    needs: all(needsSuspend, needsCode),
    async run(context) {
      using keeping = openKeeping();
      const machine = await launch(context);
      const { spec } = machine;
      const { source } = await capture(machine, keeping);
      await machine.destroy('destroyed', 'it sleeps');
      const { runtime } = context;
      const refused = async (wrong: Partial<typeof source>): Promise<void> => {
        const attempt = runtime.restore(spec, { ...again(source, keeping), ...wrong }, { renew: false });
        await assert.rejects(attempt, { code: 'snapshot_invalid' });
      };
      await refused({ tenant: makeId('tenant') });
      await refused({ session: makeId('session') });
      await refused({ key: new Uint8Array(32) });
      const { size } = fstatSync(keeping.fd);
      const byte = Buffer.alloc(1);
      for (const at of [Math.floor(size / 2), size - 1]) {
        readSync(keeping.fd, byte, 0, 1, at);
        writeSync(keeping.fd, Buffer.from([(byte[0] ?? 0) ^ 1]), 0, 1, at);
        await refused({});
        writeSync(keeping.fd, byte, 0, 1, at);
      }
      await using woken = await runtime.restore(spec, again(source, keeping), { renew: false });
      await woken.guest.ping(); // the control
    },
  },
  {
    name: 'snapshot: not while an operation is under way',
    needs: all(needsSuspend, needsCode),
    async run(context) {
      using keeping = openKeeping();
      await using machine = await launch(context);
      const exec = machine.guest.exec({ argv: ['sleep', '1000'] });
      await assert.rejects(capture(machine, keeping), { code: 'state_conflict' });
      exec.kill();
      await exec.outcome;
      await machine.guest.ping();
    },
  },
  {
    name: 'fork: copies have what their parent had, and randomness, names and seeds of their own',
    needs: all(needsFork, needsCode),
    async run(context) {
      using keeping = openKeeping();
      await using parent = await launch(context);
      await run(parent, 'import os, random, numpy\nx = 41');
      const { source } = await capture(parent, keeping);
      await parent.resume();
      const look =
        'for value in (open("/etc/hostname").read(), open("/etc/machine-id").read(), os.urandom(8).hex(), random.random(), numpy.random.rand()): print(str(value).strip())';
      const seen = [(await run(parent, look)).split('\n')];
      for (let n = 0; n < 2; n++) {
        const spec = specOf(context.tenant);
        await using child = await context.runtime.restore(spec, again(source, keeping), { renew: true });
        assert.equal(await run(child, 'print(x + 1)'), '42');
        seen.push((await run(child, look)).split('\n'));
      }
      for (const index of seen[0]?.keys() ?? []) {
        assert.equal(new Set(seen.map((values) => values[index])).size, seen.length, `value ${index}`);
      }
    },
  },
];
