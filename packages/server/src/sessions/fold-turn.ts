import type { MimeBundle, SessionId, TurnEvent, TurnId, TurnOutcome, TurnResult } from '@bulkhead/protocol';

/** The finished turn, folded from its events. */
export function foldTurn(
  sessionId: SessionId,
  turnId: TurnId,
  events: Iterable<TurnEvent>,
  outcome: TurnOutcome,
): TurnResult {
  const text: Record<'stdout' | 'stderr', string[]> = { stdout: [], stderr: [] };
  const results: MimeBundle[] = [];
  const truncated = { stdoutBytes: 0, stderrBytes: 0, resultBytes: 0 };
  for (const event of events) {
    if (event.type === 'stdout' || event.type === 'stderr') text[event.type].push(event.text);
    else if (event.type === 'result' || event.type === 'display') results.push(event.data);
    else if (event.type === 'truncated') {
      if (event.stream === 'stdout') truncated.stdoutBytes += event.droppedBytes;
      else if (event.stream === 'stderr') truncated.stderrBytes += event.droppedBytes;
      else truncated.resultBytes += event.droppedBytes;
    }
  }
  const { status, error, exception, context, turnMs, guestMs } = outcome;
  return {
    sessionId,
    turnId,
    status,
    stdout: text.stdout.join(''),
    stderr: text.stderr.join(''),
    results,
    error,
    exception,
    context,
    truncated,
    timings: { turnMs, guestMs },
  };
}
