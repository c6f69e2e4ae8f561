export type { BenchmarkOptions, BenchmarkReport } from './commands/bench.ts';
