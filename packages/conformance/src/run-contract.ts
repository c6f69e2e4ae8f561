// Runs the contract over runtimes, and shows what came of it as a table of case by runtime.

import { BulkheadError, makeId } from '@bulkhead/protocol';
import type { Runtime } from '@bulkhead/server';
import type { ContractCase, Subject } from './contract-case.ts';
import { faultCases } from './fault-cases.ts';
import { guestCases } from './guest-cases.ts';
import { launchCases } from './launch-cases.ts';
import { snapshotCases } from './snapshot-cases.ts';

/** In the order in which they build upon each other. */
export const contractCases: readonly ContractCase[] = [...launchCases, ...guestCases, ...snapshotCases, ...faultCases];

export type CaseResult = {
  readonly case: string;
  readonly runtime: string;
  readonly elapsedMs: number;
  readonly notes: readonly string[];
} & (
  | { readonly outcome: 'holds' }
  | { readonly outcome: 'skipped'; readonly why: string }
  | { readonly outcome: 'broken'; readonly error: unknown }
);

/** One case on one runtime. Never rejects. A case that leaves a machine behind is broken, whatever it found. */
export async function runCase(contractCase: ContractCase, subject: Subject, runtime: Runtime): Promise<CaseResult> {
  const started = performance.now();
  const notes: string[] = [];
  const told = { case: contractCase.name, runtime: subject.name, notes };
  const why = contractCase.needs?.(runtime.capabilities, subject);
  if (why !== undefined) return { ...told, elapsedMs: 0, outcome: 'skipped', why };
  const tenant = makeId('tenant');
  try {
    await contractCase.run({ subject, runtime, tenant, note: (line) => notes.push(line) });
    const left = (await runtime.list()).filter((found) => found.tenant === tenant);
    if (left.length > 0) throw new Error(`it left ${left.map(({ id }) => id).join(', ')}`);
    return { ...told, elapsedMs: performance.now() - started, outcome: 'holds' };
  } catch (error) {
    return { ...told, elapsedMs: performance.now() - started, outcome: 'broken', error };
  }
}

/** The runtime, or why this host has none. Errors: all but `host_unsupported`. */
export async function openSubject(subject: Subject): Promise<Runtime | string> {
  try {
    return await subject.open();
  } catch (error) {
    if (BulkheadError.is(error, 'host_unsupported')) return error.message;
    throw error;
  }
}

/** A line for each case, a column for each runtime, then the reasons of what was skipped, once each. */
export function contractTable(results: readonly CaseResult[]): string {
  const runtimes = [...new Set(results.map(({ runtime }) => runtime))];
  const names = [...new Set(results.map((result) => result.case))];
  const width = Math.max(...names.map((name) => name.length));
  const reasons: string[] = [];
  const cell = (name: string, column: string): string => {
    const result = results.find((found) => found.case === name && column === found.runtime);
    if (result === undefined) return '';
    if (result.outcome !== 'skipped') {
      return result.outcome === 'holds' ? `holds ${result.elapsedMs.toFixed(0)} ms` : 'BROKEN';
    }
    if (!reasons.includes(result.why)) reasons.push(result.why);
    return `- (${reasons.indexOf(result.why) + 1})`;
  };
  const row = (first: string, cells: readonly string[]): string =>
    [first.padEnd(width), ...cells.map((text) => text.padEnd(14))].join('  ').trimEnd();
  return [
    row('', runtimes),
    ...names.map((name) =>
      row(
        name,
        runtimes.map((runtime) => cell(name, runtime)),
      ),
    ),
    ...reasons.map((reason, index) => `(${index + 1}) ${reason}`),
  ].join('\n');
}
