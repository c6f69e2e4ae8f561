import { BulkheadError, limits } from '@bulkhead/protocol';

const unitsMs: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, '': 1000 };

/** `2` (seconds), `500ms`, `1.5s`, `5m`, `1h` in milliseconds. Errors: `invalid_request`. */
export function parseDurationMs(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|)$/.exec(text.trim());
  const durationMs = match === null ? Number.NaN : Number(match[1]) * (unitsMs[match[2] ?? ''] ?? Number.NaN);
  if (durationMs >= 1 && durationMs <= limits.turnTimeoutMaxMs) return durationMs;
  throw new BulkheadError('invalid_request', `${JSON.stringify(text)} is not a time between 1ms and 8h.`, {
    hint: 'Write it like 2 (seconds), 500ms, 1.5s, 5m or 1h.',
    details: { field: 'timeout' },
  });
}

/** A duration for people. */
export function formatDuration(durationMs: number): string {
  if (durationMs < 10) return `${durationMs.toFixed(1)} ms`;
  if (durationMs < 1000) return `${Math.round(durationMs)} ms`;
  if (durationMs < 60_000) return `${(durationMs / 1000).toFixed(1)} s`;
  return `${Math.floor(durationMs / 60_000)} min ${Math.round((durationMs % 60_000) / 1000)} s`;
}

/** A size for people. */
export function formatBytes(bytes: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}
