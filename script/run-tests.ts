// Runs the tests and says what ran, what was skipped and why. `unit`: everything that needs no virtual machine. `all`: those, then
// the tests on real machines, one file at a time, because two machines at once on two cores would measure each other.
// A skip without a reason counts as a failure. The last lines are node's own closing lines, summed over both parts.

import { globSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { relative } from 'node:path';
import { run } from 'node:test';
import { inspect } from 'node:util';
import { type PythonReport, runClientTests, runGuestTests } from './python-tests.ts';

interface Part {
  readonly name: string;
  readonly pattern: string;
  readonly concurrency: number;
  readonly testTimeoutMs: number;
  readonly deadlineMs: number;
}

const unitPart: Part = {
  name: 'unit',
  pattern: 'packages/*/test/**/*.test.ts',
  concurrency: Math.min(2, availableParallelism()),
  testTimeoutMs: 120_000,
  deadlineMs: 240_000,
};
const machinePart: Part = {
  name: 'machine',
  pattern: 'test/machine/**/*.test.ts',
  concurrency: 1,
  testTimeoutMs: 900_000,
  deadlineMs: 1_800_000,
};

const counted = ['tests', 'suites', 'passed', 'failed', 'cancelled', 'skipped', 'todo'] as const;
type Counts = Record<(typeof counted)[number], number>;

interface Tally {
  counts: Counts;
  durationMs: number;
  /** One line each: where, what, why. */
  readonly skipped: string[];
  readonly problems: string[];
}

function emptyTally(): Tally {
  return {
    counts: { tests: 0, suites: 0, passed: 0, failed: 0, cancelled: 0, skipped: 0, todo: 0 },
    durationMs: 0,
    skipped: [],
    problems: [],
  };
}

const say = (line: string): void => void process.stdout.write(`${line}\n`);
const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;
const here = (file: string | undefined): string => (file === undefined ? '' : relative(process.cwd(), file));

function describeFailure(error: unknown): string {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
  if (cause instanceof Error) return cause.stack ?? cause.message;
  return typeof cause === 'string' ? cause : inspect(cause, { depth: 5 });
}

const indent = (text: string): string => text.replaceAll(/^(?=.)/gm, '    ');

async function runPart(part: Part, tally: Tally): Promise<void> {
  const files = globSync(part.pattern).toSorted();
  if (files.length === 0) {
    say(`${part.name}: no test files match ${part.pattern}`);
    return;
  }
  say(`${part.name}: ${files.length} test files`);
  const output = new Map<string, string>();
  const deadline = AbortSignal.timeout(part.deadlineMs);
  const events = run({
    files,
    concurrency: part.concurrency,
    timeout: part.testTimeoutMs,
    signal: deadline,
  });
  for await (const event of events) {
    switch (event.type) {
      case 'test:stdout':
      case 'test:stderr':
        output.set(event.data.file, `${output.get(event.data.file) ?? ''}${event.data.message}`.slice(-20_000));
        break;
      case 'test:pass': {
        const { name, file, skip } = event.data;
        if (skip === undefined || skip === false) break;
        const where = `${here(file)}: ${name}`;
        if (typeof skip === 'string' && skip.trim() !== '') tally.skipped.push(`${where}: ${skip}`);
        else tally.problems.push(`${where}: skipped without a reason`);
        break;
      }
      case 'test:fail': {
        const { name, file, details } = event.data;
        say(`  FAILED ${here(file)}: ${name}`);
        say(indent(describeFailure(details.error)));
        tally.problems.push(`${here(file)}: ${name}`);
        break;
      }
      case 'test:summary': {
        const { file, counts, duration_ms: durationMs, success } = event.data;
        if (file === undefined) {
          for (const key of counted) tally.counts[key] += counts[key];
          tally.durationMs += durationMs;
          if (!success && tally.problems.length === 0) tally.problems.push(`${part.name}: the run failed`);
          break;
        }
        const skips = counts.skipped > 0 ? `, ${counts.skipped} skipped` : '';
        say(`  ${success ? 'ok    ' : 'FAILED'} ${here(file)} (${counts.tests} tests${skips}, ${seconds(durationMs)})`);
        const printed = output.get(file);
        if (!success && printed !== undefined) say(indent(printed));
        output.delete(file);
        break;
      }
      default:
    }
  }
  // A file that died before its tests has no summary of its own; what it printed is the only trace.
  for (const [file, printed] of output) {
    if (tally.problems.some((problem) => problem.includes(here(file)))) say(indent(printed));
  }
  if (deadline.aborted) tally.problems.push(`${part.name}: not finished after ${seconds(part.deadlineMs)}`);
}

function count(report: PythonReport, tally: Tally): string {
  if (report.printed !== '') say(indent(report.printed));
  tally.skipped.push(...report.skipped);
  tally.problems.push(...report.problems);
  return report.line;
}

function printClosing(tally: Tally, pythonLines: readonly string[]): void {
  const { counts } = tally;
  say('');
  for (const line of pythonLines) say(line);
  if (tally.skipped.length > 0) say(`skipped, with the reason of each:`);
  for (const line of tally.skipped) say(`  ${line}`);
  if (tally.problems.length > 0) say('what failed:');
  for (const line of tally.problems) say(`  ${line}`);
  say(`ran ${counts.tests - counts.skipped} tests, skipped ${counts.skipped}`);
  say(`# tests ${counts.tests}`);
  say(`# suites ${counts.suites}`);
  say(`# pass ${counts.passed}`);
  say(`# fail ${counts.failed}`);
  say(`# cancelled ${counts.cancelled}`);
  say(`# skipped ${counts.skipped}`);
  say(`# todo ${counts.todo}`);
  say(`# duration_ms ${tally.durationMs.toFixed(3)}`);
}

const scope = process.argv[2];
if (scope !== 'unit' && scope !== 'all') {
  process.stderr.write('usage: run-tests.ts unit | all\n');
  process.exit(2);
}
const tally = emptyTally();
// Python's tests wait more than they work, so they run beside the others.
const [guest, client] = await Promise.all([runGuestTests(), runClientTests(), runPart(unitPart, tally)]);
const pythonLines = [guest, client].map((report) => count(report, tally));
if (scope === 'all') await runPart(machinePart, tally);
printClosing(tally, pythonLines);
process.exitCode = tally.problems.length > 0 || tally.counts.tests === 0 ? 1 : 0;
