// A finished turn from its events: what a server keeps and what a client has read are folded by the same rules.

import type { SessionId, TurnId } from './ids.ts';
import type { MimeBundle, TurnEvent, TurnOutcome, TurnResult } from './turns.ts';

/** For a reader who has them one by one. */
export class TurnFold {
  readonly #sessionId: SessionId;
  readonly #turnId: TurnId;
  readonly #text: Record<'stdout' | 'stderr', string[]> = { stdout: [], stderr: [] };
  readonly #results: MimeBundle[] = [];
  readonly #truncated = { stdoutBytes: 0, stderrBytes: 0, resultBytes: 0 };
  #outcome: TurnOutcome | undefined;

  constructor(sessionId: SessionId, turnId: TurnId) {
    this.#sessionId = sessionId;
    this.#turnId = turnId;
  }

  /** Each event once, in their order. */
  add(event: TurnEvent): void {
    switch (event.type) {
      case 'stdout':
      case 'stderr':
        this.#text[event.type].push(event.text);
        break;
      case 'result':
      case 'display':
        this.#results.push(event.data);
        break;
      case 'truncated':
        if (event.stream === 'stdout') this.#truncated.stdoutBytes += event.droppedBytes;
        else if (event.stream === 'stderr') this.#truncated.stderrBytes += event.droppedBytes;
        else this.#truncated.resultBytes += event.droppedBytes;
        break;
      case 'end':
        this.#outcome = event.outcome;
        break;
      case 'exception': // the outcome has it too
    }
  }

  /** After the last event, or with the outcome that it has. */
  result(outcome: TurnOutcome | undefined = this.#outcome): TurnResult {
    if (outcome === undefined) throw new Error('The turn has not ended');
    const { status, error, exception, context, turnMs, guestMs } = outcome;
    return {
      sessionId: this.#sessionId,
      turnId: this.#turnId,
      status,
      stdout: this.#text.stdout.join(''),
      stderr: this.#text.stderr.join(''),
      results: this.#results,
      error,
      exception,
      context,
      truncated: this.#truncated,
      timings: { turnMs, guestMs },
    };
  }
}

export function foldTurn(
  sessionId: SessionId,
  turnId: TurnId,
  events: Iterable<TurnEvent>,
  outcome: TurnOutcome,
): TurnResult {
  const fold = new TurnFold(sessionId, turnId);
  for (const event of events) fold.add(event);
  return fold.result(outcome);
}
