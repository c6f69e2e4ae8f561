// `bulkhead bench launch`: from the call of `launch` to a machine that proved its new identity.

import { makeId } from '@bulkhead/protocol';
import { timeColdBoot, timeLocalPython } from './baselines.ts';
import { type BenchmarkOptions, type BenchmarkReport, compare, measuredOn, summarize } from './report.ts';

export async function run(options: BenchmarkOptions): Promise<BenchmarkReport> {
  const { n, bulkhead, onProgress, signal } = options;
  const { runtime } = bulkhead;
  await runtime.prepare('small', { onProgress });
  const tenant = makeId('tenant');
  const launches: number[] = [];
  const restores: number[] = [];
  const firstResults: number[] = [];
  const destroys: number[] = [];
  for (let i = 0; i <= n; i++) {
    signal?.throwIfAborted();
    const started = performance.now();
    const machine = await runtime.launch({ tenant, session: makeId('session'), size: 'small' });
    const turn = machine.guest.run({
      language: 'python',
      context: 'default',
      code: Buffer.from('6 * 7'),
      maxOutputBytes: 65_536,
      maxEventBytes: 65_536,
    });
    let result = '';
    for await (const event of turn.events) if (event.type === 'result') result = String(event.data['text/plain']);
    const answered = performance.now();
    if (result !== '42') throw new Error(`the machine answered ${JSON.stringify(result)} instead of 42`);
    await machine[Symbol.asyncDispose]();
    if (i === 0) continue; // loads the tenant's copy of the template
    launches.push(machine.timings.confirmedMs);
    restores.push(machine.timings.restoredMs);
    firstResults.push(answered - started);
    destroys.push(performance.now() - answered);
  }
  const ours = summarize(launches);
  onProgress('baselines: a local interpreter, a cold boot of the same machine');
  return {
    benchmark: 'launch',
    unit: 'ms',
    clock: 'from the call of launch (template loaded) to the confirmation of the new identity',
    ...ours,
    ...measuredOn(options),
    also: {
      restored: { ...summarize(restores), unit: 'ms', clock: 'from the call of launch until the processors run' },
      firstResult: {
        ...summarize(firstResults),
        unit: 'ms',
        clock: 'from the call of launch to the result of a first turn',
      },
      destroyed: {
        ...summarize(destroys),
        unit: 'ms',
        clock: 'from the call of destroy to the proof that no process is left',
      },
    },
    baselines: {
      'python3 -c "import numpy, pandas"': compare(ours, timeLocalPython(Math.min(n, 10))),
      'cold boot of the same machine': compare(ours, await timeColdBoot(options)),
    },
  };
}
