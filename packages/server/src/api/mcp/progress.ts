// What a client that gave a progress token is told while something long runs: the last line that was printed, at a rate with an upper bound, and now and
// then that it still runs, so that a client which waits for a sign of life gets one.

import { type Clock, systemClock } from '../../lib/clock.ts';
import { printable } from '../../lib/printable.ts';
import { mcpLimits } from './mcp-limits.ts';

export type SendProgress = (params: { readonly progress: number; readonly message: string }) => Promise<void>;

/** `progress` is the time since the beginning, in seconds: how much is left nobody knows. */
export class Progress implements Disposable {
  readonly #send: SendProgress;
  readonly #clock: Clock;
  readonly #startedMs: number;
  #message = 'running';
  #lastLine = '';
  #sent = 0;
  #sentAtMs: number;
  #cancel: (() => void) | undefined;
  #dueMs = Number.POSITIVE_INFINITY;
  #over = false;

  /** Without `send` nobody has asked, and nothing is done. */
  constructor(send: SendProgress | undefined, clock: Clock = systemClock) {
    this.#send = send ?? (() => Promise.resolve());
    this.#clock = clock;
    this.#startedMs = clock.nowMs();
    this.#sentAtMs = Number.NEGATIVE_INFINITY;
    if (send === undefined) this.#over = true;
    else this.#schedule(mcpLimits.progressMaxIntervalMs);
  }

  get isWanted(): boolean {
    return !this.#over;
  }

  /** Ours. */
  tell(message: string): void {
    this.#message = printable(message, mcpLimits.messageMaxLength);
    this.#soon();
  }

  /** The program's. */
  printed(text: string): void {
    if (this.#over) return;
    const lines = (this.#lastLine + text).slice(-2 * mcpLimits.messageMaxLength).split(/[\r\n]+/);
    this.#lastLine = lines.pop() ?? '';
    const shown = this.#lastLine.trim() === '' ? (lines.findLast((line) => line.trim() !== '') ?? '') : this.#lastLine;
    if (shown === '') return;
    this.#message = `program output: ${printable(shown, mcpLimits.messageMaxLength)}`;
    this.#soon();
  }

  [Symbol.dispose](): void {
    this.#over = true;
    this.#cancel?.();
  }

  #soon(): void {
    const intervalMs = Math.min(
      mcpLimits.progressMaxIntervalMs,
      mcpLimits.progressMinIntervalMs + this.#sent * mcpLimits.progressGrowthMs,
    );
    this.#schedule(this.#sentAtMs + intervalMs - this.#clock.nowMs());
  }

  #schedule(delayMs: number): void {
    const dueMs = this.#clock.nowMs() + Math.max(0, delayMs);
    if (this.#over || dueMs >= this.#dueMs) return;
    this.#cancel?.();
    this.#dueMs = dueMs;
    this.#cancel = this.#clock.after(Math.max(0, delayMs), () => this.#emit());
  }

  #emit(): void {
    if (this.#over) return;
    this.#sent += 1;
    this.#sentAtMs = this.#clock.nowMs();
    this.#dueMs = Number.POSITIVE_INFINITY;
    const progress = (this.#sentAtMs - this.#startedMs) / 1000;
    // A client that has gone hears nothing; what it asked for goes on.
    this.#send({ progress, message: this.#message }).catch(() => undefined);
    this.#schedule(mcpLimits.progressMaxIntervalMs);
  }
}
