// One turn, from its code to its end. The host's clock decides: at the deadline, and when somebody interrupts, the turn goes
// down a ladder (interrupt, kill of the interpreter, destruction of the machine), each rung with a time of its own, so a turn
// ends whatever the guest does. The guest's word counts only for what happened to the context.

import {
  type ContextFate,
  type ErrorCode,
  type ErrorJson,
  type GuestException,
  type SessionId,
  type TurnEvent,
  type TurnId,
  type TurnOutcome,
  type TurnResult,
  limits,
  makeId,
} from '@bulkhead/protocol';
import type { GuestRun, RunOutcome } from '../guest/guest.ts';
import type { Clock } from '../lib/clock.ts';
import type { Machine, MachineExit } from '../runtimes/runtime.ts';
import { EventLog } from './event-log.ts';
import { errorJson, machineError } from './machine-error.ts';
import type { CheckedTurnRequest } from './turn-request.ts';

export interface Turn {
  readonly id: TurnId;
  readonly sessionId: SessionId;
  /** The turn's events after the cursor `after` (0: from the first), those to come as well. Any number of readers. */
  events(after?: number, options?: { readonly signal?: AbortSignal }): AsyncIterable<TurnEvent>;
  /** Never rejects: how a turn failed is in its `error`. */
  readonly result: Promise<TurnResult>;
  readonly ended: boolean;
  /** How it ends is certain; it is told, by `result` and `ended`, when it is written down. */
  readonly ending: boolean;
  /** When it is written down that it was begun: from here on it is known, whatever becomes of this process. Errors: `store_unavailable`; it does not run then. */
  readonly begun: Promise<void>;
  readonly startedAtUnixMs: number;
  /** Null while it runs. */
  readonly endedAtUnixMs: number | null;
  /** At most `limit` of the events after the cursor `after` that are there now. */
  eventsSoFar(after: number, limit: number): readonly TurnEvent[];
  /** Interrupts the code; idempotent. The turn ends with `turn_interrupted`, unless it ended well before it noticed. */
  interrupt(): void;
}

export interface TurnOptions {
  readonly sessionId: SessionId;
  readonly request: CheckedTurnRequest;
  readonly machine: Machine;
  readonly clock: Clock;
  /** Called once, when the end is certain. Where it answers with a promise, the end is told to nobody before that resolves. */
  readonly onSettled: (events: readonly TurnEvent[], outcome: TurnOutcome) => Promise<void> | undefined;
}

type LadderCause = 'turn_timeout' | 'turn_interrupted';
type Rung = 'running' | 'interrupting' | 'killing' | 'destroying';
type Settled = { readonly outcome: RunOutcome } | { readonly failure: unknown };

/** How long the channel may take to deliver last words after its machine is gone. */
const lastWordsMs = 100;

export class RunningTurn implements Turn {
  readonly id: TurnId = makeId('turn');
  readonly sessionId: SessionId;
  readonly result: Promise<TurnResult>;
  begun: Promise<void> = Promise.resolve();
  readonly log: EventLog;
  readonly startedAtUnixMs: number;
  readonly #options: TurnOptions;
  readonly #clock: Clock;
  readonly #startedMs: number;
  readonly #result = Promise.withResolvers<TurnResult>();
  #run: GuestRun | undefined;
  #rung: Rung = 'running';
  #cause: LadderCause | undefined;
  #cancelTimer: () => void = () => undefined;
  #exception: GuestException | null = null;
  #settling = false;
  #endedAtUnixMs: number | null = null;

  constructor(options: TurnOptions) {
    this.#options = options;
    this.#clock = options.clock;
    this.#startedMs = options.clock.nowMs();
    this.startedAtUnixMs = options.clock.unixMs();
    this.sessionId = options.sessionId;
    this.log = new EventLog(options.clock, limits);
    this.result = this.#result.promise;
  }

  get ended(): boolean {
    return this.log.ended;
  }

  get ending(): boolean {
    return this.#settling;
  }

  get endedAtUnixMs(): number | null {
    return this.#endedAtUnixMs;
  }

  events(after = 0, options: { readonly signal?: AbortSignal } = {}): AsyncIterable<TurnEvent> {
    return this.log.read(after, options);
  }

  eventsSoFar(after: number, limit: number): readonly TurnEvent[] {
    return this.log.slice(after, limit);
  }

  /** Sends the code; unless the turn has been ended before. */
  start(): void {
    if (this.#settling) return;
    const { machine, request } = this.#options;
    try {
      this.#run = machine.guest.run({
        language: request.language,
        context: request.context,
        code: request.code,
        maxOutputBytes: limits.turnOutputMaxBytes,
        maxEventBytes: limits.turnResultsMaxBytes,
      });
    } catch (error) {
      this.fail(error);
      return;
    }
    this.#cancelTimer = this.#clock.after(request.timeoutMs, () => this.#descend('turn_timeout'));
    void this.#follow(this.#run);
  }

  interrupt(): void {
    this.#descend('turn_interrupted');
  }

  /** The machine is gone: the turn ends when the channel has delivered its last words, or soon without them. */
  machineExited(exit: MachineExit): void {
    if (!this.#settling) this.#clock.after(lastWordsMs, () => this.fail(machineError(exit)));
  }

  /** Ends the turn at once because its session is being ended; the caller destroys the machine. */
  abandon(code: ErrorCode, message: string): void {
    this.#settle({ error: { code, message }, context: 'gone' });
  }

  #descend(cause: LadderCause): void {
    if (this.#settling || this.#rung !== 'running') return;
    this.#cause = cause;
    if (this.#run === undefined) {
      this.#settle({ error: this.#ladderError('kept'), context: 'kept' });
      return;
    }
    this.#rung = 'interrupting';
    this.#cancelTimer();
    this.#run.interrupt();
    this.#cancelTimer = this.#clock.after(limits.interruptGraceMs, () => this.#kill());
  }

  #kill(): void {
    if (this.#settling) return;
    this.#rung = 'killing';
    this.#run?.kill();
    this.#cancelTimer = this.#clock.after(limits.killGraceMs, () => void this.#destroy());
  }

  async #destroy(): Promise<void> {
    if (this.#settling) return;
    this.#rung = 'destroying';
    try {
      await this.#options.machine.destroy(
        'unresponsive',
        'the guest did not confirm the kill of an interpreter in time',
      );
    } catch (error) {
      this.#settle({ error: errorJson(error), context: 'gone' });
      return;
    }
    this.#settle({ error: this.#ladderError('gone'), context: 'gone' });
  }

  async #follow(run: GuestRun): Promise<void> {
    const [settled] = await Promise.all([
      run.outcome.then(
        (outcome): Settled => ({ outcome }),
        (failure: unknown): Settled => ({ failure }),
      ),
      this.#drain(run),
    ]);
    if ('outcome' in settled) this.#settleOutcome(settled.outcome);
    else this.fail(settled.failure);
  }

  async #drain(run: GuestRun): Promise<void> {
    try {
      for await (const event of run.events) {
        if ('bytes' in event) this.log.appendOutput(event.type, event.bytes);
        else if (event.type === 'exception') {
          this.#exception = event.exception;
          this.log.appendException(event.exception);
        } else this.log.appendResult(event.type, event.data, event.sizeBytes);
      }
    } catch {
      // The outcome rejects with the same reason; it is told there.
    }
  }

  #settleOutcome(outcome: RunOutcome): void {
    const context = outcome.fate;
    this.#settle({ error: this.#outcomeError(outcome), context, outcome });
  }

  #outcomeError(outcome: RunOutcome): ErrorJson | null {
    // The limit was passed by our clock, whatever the code made of the interrupt. An interrupt that came too late is none.
    if (this.#cause === 'turn_timeout') return this.#ladderError(outcome.fate);
    if (this.#cause === 'turn_interrupted' && outcome.status !== 'ok') return this.#ladderError(outcome.fate);
    if (outcome.status === 'ok') return null;
    if (outcome.status === 'error') return this.#turnFailed(outcome);
    if (outcome.status === 'interrupted') {
      return { code: 'turn_interrupted', message: 'The code was interrupted from inside the machine.' };
    }
    return {
      code: 'context_died',
      message: `The interpreter ended during the turn${howItEnded(outcome)}; its variables are lost.`,
      hint: 'The session is still usable: the next turn starts a new interpreter. Files are kept.',
      details: { exitCode: outcome.exitCode, signal: outcome.signal },
    };
  }

  #turnFailed(outcome: RunOutcome): ErrorJson {
    const exception = this.#exception;
    if (exception !== null) {
      return {
        code: 'turn_failed',
        message: `The code raised ${exception.name}.`,
        details: { exception: exception.name },
      };
    }
    const exit = outcome.exitCode === null ? '' : ` with exit code ${outcome.exitCode}`;
    return { code: 'turn_failed', message: `The code failed${exit}.`, details: { exitCode: outcome.exitCode } };
  }

  #ladderError(context: ContextFate): ErrorJson {
    const cause = this.#cause ?? 'turn_interrupted';
    const left = {
      kept: 'The session and its variables are kept.',
      lost: 'The interpreter had to be killed: variables are lost, files are kept, the session is usable.',
      gone: 'The machine had to be destroyed: the session has ended.',
    }[context];
    const { timeoutMs } = this.#options.request;
    return cause === 'turn_timeout'
      ? { code: cause, message: `The turn took longer than ${timeoutMs} ms.`, hint: left, details: { timeoutMs } }
      : { code: cause, message: 'The turn was interrupted.', hint: left };
  }

  /** The turn cannot run, or goes no further. */
  fail(failure: unknown): void {
    const error = errorJson(failure);
    const gone = machineCodes.has(error.code);
    // The ladder was under way and the machine no longer answered: that is how the ladder ends, too.
    if (gone && this.#cause !== undefined && (this.#rung === 'destroying' || error.code === 'guest_unresponsive')) {
      this.#settle({ error: this.#ladderError('gone'), context: 'gone' });
    } else this.#settle({ error, context: gone ? 'gone' : 'kept' });
  }

  #settle(end: {
    readonly error: ErrorJson | null;
    readonly context: ContextFate;
    readonly outcome?: RunOutcome;
  }): void {
    if (this.#settling) return;
    this.#settling = true;
    this.#cancelTimer();
    const outcome: TurnOutcome = {
      status: end.error === null ? 'ok' : 'error',
      error: end.error,
      exception: this.#exception,
      context: end.context,
      guestMs: end.outcome?.elapsedMs ?? 0,
      turnMs: this.#clock.nowMs() - this.#startedMs,
    };
    const events = this.log.close(outcome, end.outcome?.dropped);
    const kept = this.#options.onSettled(events, outcome);
    if (kept === undefined) this.#tell(outcome);
    else {
      kept.then(
        () => this.#tell(outcome),
        (error: unknown) => this.#tell({ ...outcome, status: 'error', error: errorJson(error) }),
      );
    }
  }

  #tell(outcome: TurnOutcome): void {
    this.#endedAtUnixMs = this.#clock.unixMs();
    this.log.end(outcome);
    this.#result.resolve(this.log.fold(this.sessionId, this.id));
  }
}

/** After these nothing is left of the machine. */
const machineCodes: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'machine_lost',
  'guest_protocol_violation',
  'guest_unresponsive',
  'session_ended',
]);

function howItEnded(outcome: RunOutcome): string {
  if (outcome.signal !== null) return ` (signal ${outcome.signal})`;
  return outcome.exitCode === null ? '' : ` (exit code ${outcome.exitCode})`;
}
