import { existsSync } from 'node:fs';
import { BulkheadError } from '@bulkhead/protocol';
import type { Bulkhead } from '@bulkhead/server';
import type { CommandContext, CommandInput } from '../command.ts';
import { openLocal } from '../local-session.ts';
import { nearest } from '../nearest.ts';
import { parseRuntime } from '../parse-values.ts';
import { jsonLine } from '../output.ts';
import { formatNumber, formatTable } from '../table.ts';

const benchmarks: Readonly<Record<string, number>> = {
  launch: 50,
  create: 50,
  turn: 200,
  keep: 200,
  density: 40,
  crowd: 100,
  suspend: 30,
  resume: 30,
  fork: 30,
  sleep: 300,
  http: 50,
  authority: 1000,
};

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
}
export interface BenchmarkOptions {
  readonly n: number;
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
  const n = parseCount(input.text('n'), usual);
  const module = await loadBenchmark(name);
  const { stderr, interrupts } = context;
  const onProgress = (message: string): void => {
    if (!input.flag('quiet')) void stderr.line(stderr.style('dim', message));
  };
  for (const runtime of await whichRuntimes(context, input.texts('runtime'))) {
    await using local = await openLocal(context, {
      quiet: input.flag('quiet'),
      ...(runtime === undefined ? {} : { runtime }),
    });
    const report = await module.run({ n, bulkhead: local.bulkhead, signal: interrupts.ended, onProgress });
    await context.stdout.write(input.flag('json') ? jsonLine(report) : formatReport(report));
  }
  return 0;
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

function parseCount(text: string | undefined, usual: number): number {
  if (text === undefined) return usual;
  const n = /^\d{1,6}$/.test(text) ? Number(text) : 0;
  if (n < 1) throw new BulkheadError('invalid_request', `-n ${JSON.stringify(text)} is not a count from 1 to 999999.`);
  return n;
}

function row(name: string, { median, p95, p99 }: Percentiles, rest: Readonly<Record<string, string>>): object {
  const told = p99 === undefined ? '' : formatNumber(p99);
  return { what: name, median: formatNumber(median), p95: formatNumber(p95), p99: told, ...rest };
}

function formatReport(report: BenchmarkReport): string {
  const { benchmark, n, unit, clock, runtime, tier, accelerator, also, baselines } = report;
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
  return `${benchmark}: ${n} times on ${runtime} (${tier}, ${accelerator}), max ${formatNumber(report.max)} ${unit}\n\n${formatTable(rows)}`;
}

function unknownBenchmark(name: string): BulkheadError {
  const names = Object.keys(benchmarks);
  const suggestion = nearest(name, names);
  const message = name === '' ? 'Which benchmark?' : `There is no benchmark ${JSON.stringify(name)}.`;
  return new BulkheadError('invalid_request', message, {
    hint: suggestion === undefined ? `Say one of: ${names.join(', ')}.` : `Did you mean ${suggestion}?`,
  });
}
