// Runs the tests and says what ran, what was skipped and why. `unit`: what needs no virtual machine, no server and no other process; it is
// what runs before a commit. `all`: those; the service, its clients and the command, each started for real; what is published; and the
// tests on real machines: two files at a time, but for those that look at the whole host or need all of it, which run alone.
// A skip without a reason counts as a failure. The last lines are node's own closing lines, summed over all parts.

import { spawn } from 'node:child_process';
import { globSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { relative } from 'node:path';
import { run } from 'node:test';
import { inspect } from 'node:util';
import { prepareObjectServers } from './object-servers.ts';
import { type PythonReport, runClientTests, runGuestTests, runSchemathesisTests } from './python-tests.ts';

interface Part {
  readonly name: string;
  readonly files: readonly string[];
  readonly concurrency: number;
  readonly testTimeoutMs: number;
  readonly deadlineMs: number;
}

/** These start servers, databases and commands, and wait for them. */
const serviceTests = [
  'packages/cli/test/*.test.ts',
  'packages/sdk/test/server*.test.ts',
  'packages/server/test/{api,store,tenants,tools}/**/*.test.ts',
  'packages/server/test/keep-sessions.test.ts',
];
const serviceFiles = globSync(serviceTests).toSorted();
const unitPart: Part = {
  name: 'unit',
  files: globSync('packages/*/test/**/*.test.ts', { exclude: serviceTests }).toSorted(),
  concurrency: Math.min(2, availableParallelism()),
  testTimeoutMs: 120_000,
  deadlineMs: 240_000,
};
const servicePart: Part = {
  name: 'service',
  files: serviceFiles,
  // They wait for processes and databases more than they compute.
  concurrency: Math.min(3, availableParallelism() + 1),
  testTimeoutMs: 240_000,
  deadlineMs: 900_000,
};
/** What is published is tested beside them: it takes as long. */
const machineFiles = globSync('test/{machine,packages}/**/*.test.ts').toSorted();
const isOne = (file: string, names: readonly string[]): boolean =>
  names.some((name) => file.endsWith(`/${name}.test.ts`));
/** What must find nobody else's machines on the host, what takes a whole processor, and what has seconds for a lot of work. */
const aloneNames = ['clean-slate', 'misuse', 'warm-pool'];
/** They take the longest: begun first, they do not end last. */
const longNames = ['sleep', 'crash'];
const machineLimits = { testTimeoutMs: 900_000, deadlineMs: 1_800_000 };
const together = machineFiles.filter((file) => !isOne(file, aloneNames));
const machineParts: readonly Part[] = [
  {
    name: 'machine',
    files: together.toSorted((a, b) => Number(isOne(b, longNames)) - Number(isOne(a, longNames))),
    concurrency: Math.min(2, availableParallelism()),
    ...machineLimits,
  },
  {
    name: 'machine, alone',
    files: machineFiles.filter((file) => isOne(file, aloneNames)),
    concurrency: 1,
    ...machineLimits,
  },
];

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
  if (part.files.length === 0) {
    say(`${part.name}: no test files`);
    return;
  }
  say(`${part.name}: ${part.files.length} test files`);
  const started = performance.now();
  const output = new Map<string, string>();
  const deadline = AbortSignal.timeout(part.deadlineMs);
  const events = run({
    files: [...part.files],
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
  say(`${part.name}: ${seconds(performance.now() - started)}`);
  if (deadline.aborted) tally.problems.push(`${part.name}: not finished after ${seconds(part.deadlineMs)}`);
}

/** Image and template, where they are not there yet: once, not by every file that starts. What fails is told by the tests. */
async function prepareMachines(): Promise<void> {
  const child = spawn(process.execPath, [...process.execArgv, 'test/machine/prepare.ts'], {
    stdio: 'inherit',
    timeout: machineLimits.testTimeoutMs,
    killSignal: 'SIGKILL',
  });
  await new Promise((resolve) => child.once('close', resolve).once('error', resolve));
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

async function runTestsOfClients(): Promise<readonly PythonReport[]> {
  return [await runClientTests(), await runSchemathesisTests()];
}

const scope = process.argv[2];
if (scope !== 'unit' && scope !== 'all') {
  process.stderr.write('usage: run-tests.ts unit | all\n');
  process.exit(2);
}
const tally = emptyTally();
// Python's tests wait more than they work, so they run beside the others.
// The servers of objects are built meanwhile, once: what then needs one that is not there says so.
const objectServers = scope === 'all' ? prepareObjectServers() : Promise.resolve();
const [guest] = await Promise.all([runGuestTests(), runPart(unitPart, tally)]);
await objectServers;
const pythonLines = [count(guest, tally)];
if (scope === 'all') {
  const [client] = await Promise.all([runTestsOfClients(), runPart(servicePart, tally), prepareMachines()]);
  pythonLines.push(...client.map((report) => count(report, tally)));
  for (const part of machineParts) await runPart(part, tally);
}
printClosing(tally, pythonLines);
process.exitCode = tally.problems.length > 0 || tally.counts.tests === 0 ? 1 : 0;
