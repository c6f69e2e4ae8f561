import { BulkheadError, type TurnId } from '@bulkhead/protocol';
import type { RunningTurn } from './turn.ts';

/** Finished turns that can still be read: at most so many, and at most so many bytes. */
interface HistoryBounds {
  readonly maxCount: number;
  readonly maxBytes: number;
}
const inMemoryOnly: HistoryBounds = { maxCount: 32, maxBytes: 67_108_864 };
/** What is written down is read from there: here are those that somebody may be about to ask for. */
const writtenDown: HistoryBounds = { maxCount: 4, maxBytes: 4_194_304 };

/** The turns of one session that can be read from this process. */
export class TurnHistory {
  readonly #bounds: HistoryBounds;
  readonly #turns = new Map<TurnId, RunningTurn>();

  constructor({ isWrittenDown }: { readonly isWrittenDown: boolean }) {
    this.#bounds = isWrittenDown ? writtenDown : inMemoryOnly;
  }

  /** No more turns will come: those that are written down are let go of. */
  close(): void {
    if (this.#bounds !== writtenDown) return;
    for (const { id, ended } of this.#turns.values()) if (ended) this.#turns.delete(id);
  }

  add(turn: RunningTurn): void {
    this.#turns.set(turn.id, turn);
    let bytes = 0;
    const newestFirst = [...this.#turns.values()].toReversed();
    for (const [index, { id, log, ended }] of newestFirst.entries()) {
      bytes += log.sizeBytes;
      if (ended && (index >= this.#bounds.maxCount || bytes > this.#bounds.maxBytes)) this.#turns.delete(id);
    }
  }

  /** Errors: `not_found`. */
  get(id: TurnId): RunningTurn {
    const turn = this.#turns.get(id);
    if (turn === undefined) throw new BulkheadError('not_found', `There is no turn ${id} in this session.`);
    return turn;
  }
}
