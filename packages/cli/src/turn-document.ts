import type { ErrorJson, SessionId, Tier, TurnResult } from '@bulkhead/protocol';
import type { SessionInfo } from './backend.ts';

/** What `--json` prints: the same members on every path. */
export interface TurnDocument {
  readonly sessionId: SessionId | null;
  readonly status: 'ok' | 'error';
  readonly stdout: string;
  readonly stderr: string;
  readonly results: TurnResult['results'];
  readonly error: ErrorJson | null;
  readonly exception: TurnResult['exception'];
  /** Whether the session could be used afterwards; null when there was no turn. */
  readonly context: TurnResult['context'] | null;
  readonly truncated: TurnResult['truncated'];
  readonly timings: { readonly launchMs: number | null; readonly turnMs: number | null; readonly totalMs: number };
  readonly runtime: string | null;
  readonly tier: Tier | null;
}

export interface DocumentParts {
  readonly info: SessionInfo | undefined;
  readonly result: TurnResult | undefined;
  /** What failed beside the turn. */
  readonly error: ErrorJson | undefined;
  readonly totalMs: number;
}

export function turnDocument({ info, result, error, totalMs }: DocumentParts): TurnDocument {
  const failure = result?.error ?? error ?? null;
  return {
    sessionId: info?.id ?? null,
    status: failure === null ? 'ok' : 'error',
    stdout: result?.stdout ?? '',
    stderr: result?.stderr ?? '',
    results: result?.results ?? [],
    error: failure,
    exception: result?.exception ?? null,
    context: result?.context ?? null,
    truncated: result?.truncated ?? { stdoutBytes: 0, stderrBytes: 0, resultBytes: 0 },
    timings: {
      launchMs: round(info?.launchMs ?? undefined),
      turnMs: round(result?.timings.turnMs),
      totalMs: Math.round(totalMs * 1000) / 1000,
    },
    runtime: info?.runtime ?? null,
    tier: info?.tier ?? null,
  };
}

function round(durationMs: number | undefined): number | null {
  return durationMs === undefined ? null : Math.round(durationMs * 1000) / 1000;
}
