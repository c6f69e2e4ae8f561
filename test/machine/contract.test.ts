// The contract over every runtime, in one run; the table of case by runtime comes last.

import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import {
  type CaseResult,
  type Subject,
  contractCases,
  contractTable,
  openSubject,
  runCase,
} from '@bulkhead/conformance';
import { type Runtime, loadConfig } from '@bulkhead/server';
import type { HostRoom } from '../../packages/server/src/runtimes/admission.ts';
import { FakeRuntime } from '../../packages/server/src/runtimes/fake/fake-runtime.ts';
import { createGvisorRuntime } from '../../packages/server/src/runtimes/gvisor/gvisor-runtime.ts';
import { findQemu } from '../../packages/server/src/runtimes/qemu/qemu-program.ts';
import { createQemuRuntime } from '../../packages/server/src/runtimes/qemu/qemu-runtime.ts';

const config = loadConfig();
const noRoom = async (): Promise<HostRoom> => ({ availableMemoryBytes: 0, freeDiskBytes: 0 });
const victim = (runtime: string): NonNullable<Subject['victim']> => ({
  file: join(import.meta.dirname, 'contract-victim.ts'),
  environment: { ...process.env, BULKHEAD_RUNTIME: runtime },
});
const subjects: readonly Subject[] = [
  {
    name: 'fake',
    open: async () => new FakeRuntime(),
    openFull: async () => new FakeRuntime({ plan: () => ({ kind: 'full' }) }),
  },
  {
    name: 'qemu',
    open: () => createQemuRuntime({ ...config, qemu: findQemu() }),
    openFull: () => createQemuRuntime({ ...config, qemu: findQemu(), readRoom: noRoom }),
    victim: victim('qemu'),
  },
  {
    name: 'gvisor',
    open: () => createGvisorRuntime(config),
    openFull: () => createGvisorRuntime({ ...config, readRoom: noRoom }),
    victim: victim('gvisor'),
  },
];

const results: CaseResult[] = [];

for (const subject of subjects) {
  describe(`the contract on ${subject.name}`, () => {
    let runtime: Runtime | string = 'it was not opened';
    before(async () => {
      runtime = await openSubject(subject);
      if (typeof runtime === 'string') return;
      await runtime.sweep();
      await runtime.prepare('small', { onProgress: (message) => console.error(message) });
    });
    after(async () => {
      if (typeof runtime !== 'string') await runtime[Symbol.asyncDispose]();
    });
    for (const contractCase of contractCases) {
      test(contractCase.name, async (context) => {
        if (typeof runtime === 'string') {
          results.push(absent(contractCase.name, subject.name, runtime));
          context.skip(runtime);
          return;
        }
        const result = await runCase(contractCase, subject, runtime);
        results.push(result);
        for (const note of result.notes) context.diagnostic(note);
        if (result.outcome === 'broken') throw result.error;
        if (result.outcome === 'skipped') context.skip(result.why);
      });
    }
  });
}

after(() => console.log(contractTable(results)));

function absent(name: string, runtime: string, why: string): CaseResult {
  return { case: name, runtime, elapsedMs: 0, notes: [], outcome: 'skipped', why };
}
