import { BulkheadError, type TurnId } from '@bulkhead/protocol';
import type { RunningTurn } from './turn.ts';

/** Finished turns that can still be read: at most so many, and at most so many bytes. */
const keptMaxCount = 32;
const keptMaxBytes = 67_108_864;

/** The turns of one session that can still be read. */
export class TurnHistory {
  readonly #turns = new Map<TurnId, RunningTurn>();

  add(turn: RunningTurn): void {
    this.#turns.set(turn.id, turn);
    let bytes = 0;
    const newestFirst = [...this.#turns.values()].toReversed();
    for (const [index, { id, log, ended }] of newestFirst.entries()) {
      bytes += log.sizeBytes;
      if (ended && (index >= keptMaxCount || bytes > keptMaxBytes)) this.#turns.delete(id);
    }
  }

  /** Errors: `not_found`. */
  get(id: TurnId): RunningTurn {
    const turn = this.#turns.get(id);
    if (turn === undefined) throw new BulkheadError('not_found', `There is no turn ${id} in this session.`);
    return turn;
  }
}
