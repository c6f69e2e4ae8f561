// Launching, being one of a kind, and ending.

import assert from 'node:assert/strict';
import { BulkheadError, limits, makeId, tiers } from '@bulkhead/protocol';
import type { Machine } from '@bulkhead/server';
import { type ContractCase, isAlive, launch, needsCode, needsSpares, run, size, specOf } from './contract-case.ts';

/** After this long a launch is given up; the last lets some be done first. */
const cancelAfterMs = [0, 1, 5, 20, 60, 150, 300, 700] as const;

export const launchCases: readonly ContractCase[] = [
  {
    name: 'prepare: a second time there is nothing to do',
    async run({ runtime, note }) {
      await runtime.prepare(size);
      const started = performance.now();
      await runtime.prepare(size);
      const elapsedMs = performance.now() - started;
      note(`${elapsedMs.toFixed(1)} ms`);
      assert.ok(elapsedMs < 1000, `it took ${elapsedMs} ms`);
    },
  },
  {
    name: 'capabilities: the tier is one that there is, and is not better than possible',
    async run({ runtime }) {
      const { tier, possibleTier } = runtime.capabilities;
      assert.ok(tiers.includes(tier) && tiers.indexOf(possibleTier) <= tiers.indexOf(tier));
    },
  },
  {
    name: 'launch: a machine that is the session’s, has the stated tier and has confirmed',
    async run(context) {
      const spec = specOf(context.tenant);
      await using machine = await context.runtime.launch(spec);
      assert.deepEqual(machine.spec, spec);
      assert.equal(machine.tier, context.runtime.capabilities.tier);
      assert.match(machine.bootId, /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
      assert.ok(machine.epoch >= 1);
      const { spawnedMs, restoredMs, confirmedMs } = machine.timings;
      assert.ok(0 <= spawnedMs && spawnedMs <= restoredMs && restoredMs <= confirmedMs);
      for (const pid of machine.hostPids) assert.ok(isAlive(pid), `process ${pid}`);
      context.note(`confirmed after ${confirmedMs.toFixed(0)} ms`);
    },
  },
  {
    name: 'unique: two machines share no id, no boot',
    async run(context) {
      await using one = await launch(context);
      await using other = await launch(context);
      assert.notEqual(one.id, other.id);
      assert.notEqual(one.bootId, other.bootId);
    },
  },
  {
    name: 'unique: names, randomness and seeds differ inside',
    needs: needsCode,
    async run(context) {
      const look =
        'import os, random, uuid, secrets, numpy\nfor value in (open("/etc/hostname").read(), os.uname().nodename, open("/etc/machine-id").read(), os.urandom(8).hex(), random.random(), uuid.uuid4(), secrets.token_hex(8), numpy.random.rand()): print(str(value).strip())';
      const seen: string[][] = [];
      for (let n = 0; n < 3; n++) {
        await using machine = await launch(context);
        seen.push((await run(machine, look)).split('\n'));
        seen.at(-1)?.push(await run(machine, 'echo $RANDOM$RANDOM$RANDOM; cat /proc/sys/kernel/hostname', 'bash'));
      }
      for (const index of seen[0]?.keys() ?? []) {
        const values = seen.map((values_) => values_[index]);
        assert.equal(new Set(values).size, seen.length, `value ${index}: ${values.join(', ')}`);
      }
    },
  },
  {
    name: 'unique: the clock is right',
    needs: needsCode,
    async run(context) {
      await using machine = await launch(context);
      const before = Date.now();
      const inside = Number(await run(machine, 'import time; print(time.time() * 1000)'));
      assert.ok(before - 1000 <= inside && inside <= Date.now() + 1000, `${inside - before} ms off`);
    },
  },
  {
    name: 'list: every machine, with whose it is',
    async run(context) {
      await using machine = await launch(context);
      const { tenant, session } = machine.spec;
      const found = (await context.runtime.list()).filter(({ id }) => id === machine.id);
      assert.deepEqual(found, [{ id: machine.id, tenant, session }]);
    },
  },
  {
    name: 'destroy: proof that it is gone, any number of times, told once',
    async run(context) {
      const machine = await launch(context);
      const pids = [...machine.hostPids];
      await Promise.all([machine.destroy('destroyed', 'the contract'), machine.destroy('crashed', 'too late')]);
      await machine[Symbol.asyncDispose]();
      assert.deepEqual(pids.filter(isAlive), []);
      assert.deepEqual(await listed(context.runtime.list(), machine), []);
      assert.deepEqual(await machine.exited, { reason: 'destroyed', detail: 'the contract' });
      await assert.rejects(machine.guest.ping(), BulkheadError);
    },
  },
  {
    name: 'cancellation: at every edge of a launch there is a machine or nothing',
    async run({ runtime, tenant, note }) {
      let finished = 0;
      for (const afterMs of cancelAfterMs) {
        const signal = afterMs === 0 ? AbortSignal.abort() : AbortSignal.timeout(afterMs);
        try {
          await using machine = await runtime.launch(specOf(tenant), { signal });
          finished += 1;
          await machine.guest.ping();
        } catch (error) {
          assert.ok(BulkheadError.is(error, 'cancelled'), String(error));
        }
        assert.deepEqual(
          (await runtime.list()).filter((found) => found.tenant === tenant),
          [],
        );
      }
      note(`${finished} of ${cancelAfterMs.length} were quicker than the signal`);
    },
  },
  {
    name: 'capacity: a full host refuses with a time to try again, and nothing is left',
    async run({ subject, tenant }) {
      await using full = await subject.openFull();
      await full.prepare(size);
      await assert.rejects(full.launch(specOf(tenant)), { code: 'capacity_exhausted' });
      assert.deepEqual(
        (await full.list()).filter((found) => found.tenant === tenant),
        [],
      );
    },
  },
  {
    name: 'closing: ends every machine',
    async run({ subject, tenant }) {
      const own = await subject.open();
      await own.prepare(size);
      const machine = await own.launch(specOf(tenant));
      const pids = [...machine.hostPids];
      await own[Symbol.asyncDispose]();
      assert.deepEqual(pids.filter(isAlive), []);
      assert.equal((await machine.exited).reason, 'destroyed');
    },
  },
  {
    name: 'spares: nobody’s, then one session’s, once',
    needs: needsSpares,
    async run({ runtime, tenant }) {
      const whose = runtime.capabilities.spares === 'shared' ? null : tenant;
      await using spare = await runtime.launchSpare({ tenant: whose, size });
      const spec = specOf(tenant);
      await using machine = await spare.claim(spec);
      assert.deepEqual([machine.id, machine.spec], [spare.id, spec]);
      await assert.rejects(spare.claim(specOf(tenant)), { code: 'state_conflict' });
      await machine.guest.ping();
      if (whose === null) return;
      await using bound = await runtime.launchSpare({ tenant, size });
      await assert.rejects(bound.claim(specOf(makeId('tenant'))), { code: 'state_conflict' });
    },
  },
  {
    name: 'limits: a launch is given up in time',
    async run({ runtime, tenant }) {
      const started = performance.now();
      await using _machine = await runtime.launch(specOf(tenant));
      assert.ok(performance.now() - started < limits.launchTimeoutMs);
    },
  },
];

async function listed(list: Promise<readonly { readonly id: string }[]>, { id }: Machine): Promise<readonly unknown[]> {
  return (await list).filter((found) => found.id === id);
}
