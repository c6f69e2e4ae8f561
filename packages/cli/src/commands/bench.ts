import { existsSync } from 'node:fs';
import { BulkheadError } from '@bulkhead/protocol';
import type { Bulkhead } from '@bulkhead/server';
import type { CommandContext, CommandInput } from '../command.ts';
import { openLocal } from '../local-session.ts';
import { nearest } from '../nearest.ts';
import { parseRuntime } from '../parse-values.ts';
import { jsonLine } from '../output.ts';
import { formatNumber, formatTable } from '../table.ts';

/** What each is asked for by, and how many are usual. */
const benchmarks: Readonly<Record<string, Counts>> = {
  launch: { n: 50 },
  create: { n: 50 },
  turn: { n: 200 },
  keep: { n: 200 },
  density: { n: 40 },
  crowd: { n: 100 },
  suspend: { n: 30 },
  resume: { n: 30 },
  fork: { n: 30 },
  sleep: { n: 300 },
  http: { n: 50 },
  authority: { n: 1000 },
  load: { clients: 64, tenants: 10, seconds: 60 },
};
const countNames = ['n', 'clients', 'tenants', 'seconds'] as const;
type Counts = Readonly<Partial<Record<(typeof countNames)[number], number>>>;

interface Percentiles {
  readonly median: number;
  readonly p95: number;
  /** Not of every baseline. */
  readonly p99?: number;
}
export interface BenchmarkReport extends Percentiles {
  readonly benchmark: string;
  readonly n: number;
  readonly unit: string;
  /** From which call to which byte. */
  readonly clock: string;
  readonly max: number;
  readonly runtime: string;
  readonly tier: string;
  readonly accelerator: string;
  /** What the same run measured beside it. */
  readonly also: Readonly<Record<string, Percentiles & { readonly unit: string; readonly clock: string }>>;
  /** What a user would pick instead; why not, where this host cannot run it. */
  readonly baselines: Readonly<Record<string, (Percentiles & { readonly ratio: number }) | string>>;
  /** What should not have been: the command fails with any. */
  readonly findings?: readonly string[];
}
export interface BenchmarkOptions {
  readonly n: number;
  /** Of `load`. */
  readonly load: Readonly<Record<'clients' | 'tenants' | 'seconds', number>>;
  readonly bulkhead: Bulkhead;
  readonly signal: AbortSignal;
  readonly onProgress: (message: string) => void;
}
interface BenchmarkModule {
  readonly run: (options: BenchmarkOptions) => Promise<BenchmarkReport>;
}

export async function bench(context: CommandContext, input: CommandInput): Promise<number> {
  const [name = '', ...more] = input.positionals;
  const usual = Object.hasOwn(benchmarks, name) ? benchmarks[name] : undefined;
  if (usual === undefined || more.length > 0) throw unknownBenchmark(name);
  const { n = 1, clients = 1, tenants = 1, seconds = 1 } = parseCounts(name, usual, input);
  const module = await loadBenchmark(name);
  const { stderr, interrupts } = context;
  const onProgress = (message: string): void => {
    if (!input.flag('quiet')) void stderr.line(stderr.style('dim', message));
  };
  let exitCode = 0;
  for (const runtime of await whichRuntimes(context, input.texts('runtime'))) {
    await using local = await openLocal(context, {
      quiet: input.flag('quiet'),
      ...(runtime === undefined ? {} : { runtime }),
    });
    const load = { clients, tenants, seconds };
    const report = await module.run({ n, load, bulkhead: local.bulkhead, signal: interrupts.ended, onProgress });
    await context.stdout.write(input.flag('json') ? jsonLine(report) : formatReport(report));
    if ((report.findings ?? []).length > 0) exitCode = 1;
  }
  return exitCode;
}

/** One after the other: side by side they would measure each other. */
async function whichRuntimes(
  context: CommandContext,
  asked: readonly string[],
): Promise<readonly (ReturnType<typeof parseRuntime> | undefined)[]> {
  if (asked.length === 0) return [undefined];
  if (!asked.includes('all')) return asked.map(parseRuntime);
  await using local = await openLocal(context, { quiet: true });
  return local.bulkhead.runtimes.map(({ capabilities }) => capabilities.runtime);
}

async function loadBenchmark(name: string): Promise<BenchmarkModule> {
  const file = new URL(`../../../../bench/${name}.ts`, import.meta.url);
  if (!existsSync(file)) {
    throw new BulkheadError('unsupported', `There is no benchmark ${name} in this installation.`, {
      hint: 'Benchmarks are in bench/ of a checkout.',
    });
  }
  return await import(file.href);
}

/** Errors: `invalid_request`, for one that this benchmark is not asked for by, too. */
function parseCounts(benchmark: string, usual: Counts, input: CommandInput): Counts {
  const counts: { -readonly [Name in keyof Counts]: Counts[Name] } = { ...usual };
  for (const name of countNames) {
    const text = input.text(name);
    if (text === undefined) continue;
    const option = name === 'n' ? '-n' : `--${name}`;
    if (usual[name] === undefined) {
      const taken = countNames.filter((other) => usual[other] !== undefined);
      throw new BulkheadError('invalid_request', `\`bench ${benchmark}\` takes no ${option}.`, {
        hint: `It takes ${taken.map((other) => (other === 'n' ? '-n' : `--${other}`)).join(', ')}.`,
      });
    }
    counts[name] = parseCount(option, text);
  }
  return counts;
}

function parseCount(option: string, text: string): number {
  const count = /^\d{1,6}$/.test(text) ? Number(text) : 0;
  if (count >= 1) return count;
  throw new BulkheadError('invalid_request', `${option} ${JSON.stringify(text)} is not a count from 1 to 999999.`);
}

function row(name: string, { median, p95, p99 }: Percentiles, rest: Readonly<Record<string, string>>): object {
  const told = p99 === undefined ? '' : formatNumber(p99);
  return { what: name, median: formatNumber(median), p95: formatNumber(p95), p99: told, ...rest };
}

function formatReport(report: BenchmarkReport): string {
  const { benchmark, n, unit, clock, runtime, tier, accelerator, also, baselines, findings = [] } = report;
  const rows = [
    row(benchmark, report, { unit, ratio: '1', clock }),
    ...Object.entries(also).map(([name, beside]) =>
      row(name, beside, { unit: beside.unit, ratio: '', clock: beside.clock }),
    ),
    ...Object.entries(baselines).map(([name, baseline]) =>
      typeof baseline === 'string'
        ? { what: name, clock: baseline }
        : row(name, baseline, { unit, ratio: formatNumber(baseline.ratio), clock: '' }),
    ),
  ];
  const found =
    findings.length === 0 ? '' : `\nwhat should not have been:\n${findings.map((line) => `  ${line}\n`).join('')}`;
  return `${benchmark}: ${n} times on ${runtime} (${tier}, ${accelerator}), max ${formatNumber(report.max)} ${unit}\n\n${formatTable(rows)}${found}`;
}

function unknownBenchmark(name: string): BulkheadError {
  const names = Object.keys(benchmarks);
  const suggestion = nearest(name, names);
  const message = name === '' ? 'Which benchmark?' : `There is no benchmark ${JSON.stringify(name)}.`;
  return new BulkheadError('invalid_request', message, {
    hint: suggestion === undefined ? `Say one of: ${names.join(', ')}.` : `Did you mean ${suggestion}?`,
  });
}
