// One run of schemathesis against a server of its own.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { routeList } from '@bulkhead/protocol';
import { startFakeServer } from './fake-server.ts';
import { preparePython, runProgram } from './python-environment.ts';

export interface SchemathesisOptions {
  /** At least so many have to be sent; in a thousand or more, each route has to have been asked for, and to have succeeded. */
  readonly requests: number;
  readonly seconds: number;
  readonly seed: number;
  /** Of each route, in each way of making them up. */
  readonly examples?: number;
  readonly phases?: string;
}

export interface SchemathesisResult {
  readonly problems: readonly string[];
  /** What schemathesis printed. */
  readonly report: string;
  readonly summary: string;
}

interface Counts {
  readonly asked: Readonly<Record<string, number>>;
  readonly answered: Readonly<Record<string, number>>;
  readonly statuses: Readonly<Record<string, number>>;
}

const root = join(import.meta.dirname, '..');
/**
 * A terminal is not for a client of plain HTTP: it becomes a WebSocket. What the routes of authority answer depends on what is behind a tool, and
 * on the language of policies, which no schema has: they have tests of their own.
 */
const skipped: readonly string[] = [
  'openTerminal',
  ...routeList.filter(({ tag }) => tag === 'authority').map(({ operation }) => operation),
];
/** Routes that the fake runtime, or a run that keeps its own tenant, never has a success of. */
const neverSucceed = new Set<string>([
  'updateTenant',
  'deleteTenant',
  'getKey',
  'rotateKey',
  'revokeKey',
  'closePort',
  'getApproval',
  'approveCall',
  'refuseCall',
  ...skipped,
]);
const graceMs = 120_000;
const thorough = 1000;

const sum = (counts: Readonly<Record<string, number>>): number =>
  Object.values(counts).reduce((total, count) => total + count, 0);

export async function runSchemathesis(options: SchemathesisOptions): Promise<SchemathesisResult> {
  const { requests, seconds, seed, examples = 100, phases = 'coverage,fuzzing,stateful' } = options;
  const python = await preparePython();
  await using server = await startFakeServer();
  const folder = mkdtempSync(join(tmpdir(), 'bulkhead-schemathesis-'));
  const countsFile = join(folder, 'counts.json');
  try {
    const { problem, output } = await runProgram(
      join(python, '../st'),
      [
        '--config-file',
        join(root, 'test/api/schemathesis.toml'),
        'run',
        join(root, 'docs/openapi.json'),
        `--url=${server.url}`,
        `--header=Authorization: Bearer ${server.key}`,
        `--phases=${phases}`,
        `--max-examples=${examples}`,
        `--max-time=${seconds}`,
        `--seed=${seed}`,
        '--request-timeout=30',
        '--continue-on-failure',
        '--no-color',
        '--warnings=off',
        ...skipped.flatMap((operation) => ['--exclude-operation-id', operation]),
      ],
      {
        timeoutMs: seconds * 1000 + graceMs,
        cwd: folder,
        env: {
          PYTHONPATH: join(root, 'test/api'),
          PYTHONDONTWRITEBYTECODE: '1',
          SCHEMATHESIS_HOOKS: 'schemathesis_hooks',
          BULKHEAD_TEST_URL: server.url,
          BULKHEAD_TEST_KEY: server.key,
          BULKHEAD_TEST_COUNTS: countsFile,
        },
      },
    );
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what our own hooks write
    const counts = JSON.parse(readFileSync(countsFile, 'utf8')) as Counts;
    return judge(counts, problem, `${output}\n${server.log()}`, requests);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** A run in which nothing failed has to have asked for something, of every route, and been given it. */
function judge(counts: Counts, problem: string, report: string, requests: number): SchemathesisResult {
  const asked = sum(counts.asked);
  const faults = Object.entries(counts.statuses)
    .filter(([status]) => Number(status) >= 500)
    .map(([status, count]) => `${count} of ${status}`);
  const operations = routeList.map(({ operation }) => operation);
  const neverAsked = operations.filter((name) => !skipped.includes(name) && (counts.asked[name] ?? 0) === 0);
  const neverAnswered = operations.filter((name) => !neverSucceed.has(name) && (counts.answered[name] ?? 0) === 0);
  return {
    problems: [
      ...(problem === '' ? [] : [`schemathesis ${problem}`]),
      ...(faults.length === 0 ? [] : [`faults of the server: ${faults.join(', ')}`]),
      ...(asked < requests ? [`only ${asked} requests were sent, not ${requests}`] : []),
      ...(requests < thorough || neverAsked.length === 0 ? [] : [`never asked: ${neverAsked.join(', ')}`]),
      ...(requests < thorough || neverAnswered.length === 0 ? [] : [`never succeeded: ${neverAnswered.join(', ')}`]),
    ],
    report,
    summary: `schemathesis: ${asked} requests over ${Object.keys(counts.asked).length} routes, ${sum(counts.answered)} succeeded, ${faults.length === 0 ? 'no' : faults.join(', ')} faults of the server`,
  };
}
