// What every benchmark prints, and the arithmetic behind it.

import type { Accelerator, Tier } from '@bulkhead/protocol';
import type { Bulkhead } from '@bulkhead/server';

export interface Summary {
  readonly n: number;
  readonly median: number;
  readonly p95: number;
  /** Of fewer than 100 times, the largest. */
  readonly p99: number;
  readonly max: number;
}

/** What a user would pick instead, measured in the same run; `ratio` is its median over ours. */
export interface Baseline {
  readonly n: number;
  readonly median: number;
  readonly p95: number;
  readonly ratio: number;
}

export interface BenchmarkReport extends Summary {
  readonly benchmark: string;
  readonly unit: 'ms' | 'MB';
  /** From which call to which byte. */
  readonly clock: string;
  readonly runtime: string;
  readonly tier: Tier;
  readonly accelerator: Accelerator;
  /** What the same run measured beside it. */
  readonly also: Readonly<Record<string, Summary & { readonly unit: string; readonly clock: string }>>;
  /** A baseline that this host cannot run is a string that says why. */
  readonly baselines: Readonly<Record<string, Baseline | string>>;
  /** What should not have been: the command fails with any. */
  readonly findings?: readonly string[];
}

export interface BenchmarkOptions {
  readonly n: number;
  /** Of `load`, which is no matter of how often. */
  readonly load: { readonly clients: number; readonly tenants: number; readonly seconds: number };
  readonly bulkhead: Bulkhead;
  readonly onProgress: (message: string) => void;
  readonly signal?: AbortSignal;
}

/** What it was measured with. */
export function measuredOn({ bulkhead }: BenchmarkOptions): Pick<BenchmarkReport, 'runtime' | 'tier' | 'accelerator'> {
  const { runtime, tier, accelerator } = bulkhead.runtime.capabilities;
  return { runtime, tier, accelerator };
}

function quantile(sorted: readonly number[], q: number): number {
  return sorted[Math.min(sorted.length - 1, Math.ceil(q * sorted.length) - 1)] ?? Number.NaN;
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}

export function summarize(values: readonly number[]): Summary {
  const sorted = [...values].sort((a, b) => a - b);
  const [median, p95, p99] = [0.5, 0.95, 0.99].map((q) => round(quantile(sorted, q)));
  const most = round(sorted.at(-1) ?? Number.NaN);
  return { n: sorted.length, median: median ?? most, p95: p95 ?? most, p99: p99 ?? most, max: most };
}

export function compare(ours: Summary, values: readonly number[] | string): Baseline | string {
  if (typeof values === 'string') return values;
  const { n, median, p95 } = summarize(values);
  return { n, median, p95, ratio: round(median / ours.median) };
}
