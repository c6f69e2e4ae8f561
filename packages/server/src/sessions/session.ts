// One session: its record, its machine while it has one, and the turns that can still be read. Whatever ends it first (a
// caller, its machine, a failed launch) wins; everyone else is told what happened.

import {
  BulkheadError,
  type ErrorCode,
  type ErrorJson,
  type Language,
  type SessionState,
  type TurnId,
  type TurnOutcome,
  type TurnRequest,
  limits,
} from '@bulkhead/protocol';
import type { CallOptions, Guest } from '../guest/guest.ts';
import type { Clock } from '../lib/clock.ts';
import type { Machine, MachineExit, Runtime } from '../runtimes/runtime.ts';
import { type PendingLaunch, startLaunch } from './launch.ts';
import { errorJson, exitReason, machineError } from './machine-error.ts';
import { type SessionChange, type SessionRecord, isFinal, transition } from './session-record.ts';
import { checkContext, checkLanguage, checkTurnRequest, defaultContext } from './turn-request.ts';
import { RunningTurn, type Turn } from './turn.ts';

/** What a caller may do with the guest beside turns: commands, background processes and files. */
export type SessionGuest = Pick<
  Guest,
  | 'listContexts'
  | 'exec'
  | 'startProcess'
  | 'listProcesses'
  | 'processOutput'
  | 'killProcess'
  | 'readFile'
  | 'writeFile'
  | 'listFiles'
  | 'stat'
  | 'move'
  | 'remove'
  | 'mkdir'
  | 'info'
>;

export interface SessionOptions {
  readonly runtime: Runtime;
  readonly clock: Clock;
  readonly record: SessionRecord;
  readonly onTransition: (before: SessionRecord, after: SessionRecord) => void;
}

interface LaunchRequest {
  readonly signal?: AbortSignal;
  readonly onProgress?: (message: string) => void;
}

/** Finished turns that can still be read: at most so many, and at most so many bytes. */
const turnsKeptMaxCount = 32;
const turnsKeptMaxBytes = 67_108_864;

export class Session {
  readonly #options: SessionOptions;
  readonly #giveUp = new AbortController();
  readonly #turns = new Map<TurnId, RunningTurn>();
  #record: SessionRecord;
  #launched: Promise<void> = Promise.resolve();
  #launch: PendingLaunch | undefined;
  #machine: Machine | undefined;
  #turn: RunningTurn | undefined;
  #termination: Promise<SessionRecord> | undefined;

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#record = options.record;
  }

  get record(): SessionRecord {
    return this.#record;
  }

  /** Launches the machine: once, before anything else. Rejects with why there is none; the session is then final. */
  launch(options: LaunchRequest): Promise<void> {
    const launched = this.#launchMachine(options);
    this.#launched = launched.catch(() => undefined);
    return launched;
  }

  async #launchMachine(options: LaunchRequest): Promise<void> {
    const { runtime, clock } = this.#options;
    const { id: session, tenant, size } = this.#record;
    const signals = [this.#giveUp.signal, ...(options.signal === undefined ? [] : [options.signal])];
    this.#launch = startLaunch({
      runtime,
      clock,
      spec: { tenant, session, size },
      timeoutMs: limits.launchTimeoutMs,
      signal: AbortSignal.any(signals),
      ...(options.onProgress === undefined ? {} : { onProgress: options.onProgress }),
    });
    let machine: Machine;
    try {
      machine = await this.#launch.machine;
    } catch (error) {
      if (this.#record.state === 'creating') this.#fail(errorJson(error));
      throw BulkheadError.is(error)
        ? error
        : new BulkheadError('launch_failed', 'The machine could not be launched.', { cause: error });
    }
    if (this.#record.state !== 'creating') {
      // Terminated in the moment between the machine's arrival and this line.
      await machine.destroy('destroyed', 'the session was terminated while it was created');
      throw this.#endedError();
    }
    this.#machine = machine;
    this.#to('ready', { tier: machine.tier, machine: machine.id, bootId: machine.bootId, launch: machine.timings });
    void machine.exited.then((exit) => this.#machineExited(exit));
    void machine.guest.ended.then((end) => this.#destroyMachine(exitReason(end), end.detail));
  }

  /** Errors: `invalid_request`, `limit_exceeded`, `state_conflict` while another turn runs, `session_ended`, `cancelled`. */
  startTurn(request: TurnRequest, options: CallOptions = {}): Turn {
    const checked = checkTurnRequest(request);
    const machine = this.#usableMachine();
    if (this.#record.state === 'busy') {
      throw new BulkheadError('state_conflict', 'A turn is running in this session.', {
        hint: 'A session runs one turn at a time: wait for its end, or interrupt it.',
        details: { state: 'busy', turn: this.#record.turn },
      });
    }
    const { signal } = options;
    if (signal?.aborted === true) throw new BulkheadError('cancelled', 'The turn was cancelled before it started.');
    const onAbort = (): void => turn.interrupt();
    const turn: RunningTurn = new RunningTurn({
      sessionId: this.#record.id,
      request: checked,
      machine,
      clock: this.#options.clock,
      onSettled: (outcome) => {
        signal?.removeEventListener('abort', onAbort);
        this.#turnSettled(outcome);
      },
    });
    this.#turn = turn;
    this.#turns.set(turn.id, turn);
    this.#forgetOldTurns();
    this.#to('busy', { turn: turn.id, turnCount: this.#record.turnCount + 1 });
    turn.start();
    if (!turn.ended) signal?.addEventListener('abort', onAbort, { once: true });
    return turn;
  }

  /** A turn that runs or whose events are still kept. Errors: `not_found`. */
  turn(id: TurnId): Turn {
    const turn = this.#turns.get(id);
    if (turn === undefined) throw new BulkheadError('not_found', `There is no turn ${id} in this session.`);
    return turn;
  }

  /** Ends the interpreter of a context; the next turn starts a new one. Errors: `state_conflict` during a turn. */
  async restartContext(language: Language, context: string = defaultContext, options: CallOptions = {}): Promise<void> {
    checkLanguage(language);
    checkContext(context);
    const machine = this.#usableMachine();
    if (this.#record.state === 'busy') {
      throw new BulkheadError('state_conflict', 'A turn is running in this session.', {
        hint: 'Interrupt it first.',
        details: { state: 'busy', turn: this.#record.turn },
      });
    }
    await machine.guest.restartContext(language, context, options);
  }

  /** Errors: `state_conflict` while the session is being created, `session_ended`. */
  get guest(): SessionGuest {
    return this.#usableMachine().guest;
  }

  /** Ends the session; idempotent, in every state. Returns when nothing of its machine is left. */
  terminate(): Promise<SessionRecord> {
    this.#termination ??= this.#terminate();
    return this.#termination;
  }

  async #terminate(): Promise<SessionRecord> {
    if (!isFinal(this.#record)) {
      this.#to('terminating', { turn: null });
      this.#turn?.abandon('session_ended', 'The session was terminated during the turn.');
      this.#giveUp.abort(this.#endedError());
    }
    await this.#launched;
    await this.#launch?.released;
    const failure = await this.#destroyMachine('destroyed', 'the session was terminated');
    if (this.#record.state === 'terminating') {
      if (failure === undefined) this.#to('terminated', { endedAtUnixMs: this.#options.clock.unixMs() });
      else this.#fail(errorJson(failure));
    }
    return this.#record;
  }

  #usableMachine(): Machine {
    const { state } = this.#record;
    if (state === 'creating') {
      throw new BulkheadError('state_conflict', 'The session is being created.', { details: { state } });
    }
    if (this.#machine === undefined || (state !== 'ready' && state !== 'busy')) throw this.#endedError();
    return this.#machine;
  }

  #turnSettled(outcome: TurnOutcome): void {
    this.#turn = undefined;
    if (this.#record.state !== 'busy') return;
    if (outcome.context !== 'gone') this.#to('ready', { turn: null });
    else this.#fail(outcome.error ?? { code: 'machine_lost', message: 'The machine ended unexpectedly.' });
  }

  #machineExited(exit: MachineExit): void {
    if (this.#turn !== undefined) this.#turn.machineExited(exit);
    else if (!isFinal(this.#record) && this.#record.state !== 'terminating') this.#fail(machineError(exit).toJSON());
  }

  #fail(error: ErrorJson): void {
    this.#to('failed', { error, turn: null, endedAtUnixMs: this.#options.clock.unixMs() });
    void this.#destroyMachine('crashed', error.message);
  }

  /** Never rejects: answers with what went wrong, so that whoever waits can tell. */
  async #destroyMachine(reason: MachineExit['reason'], detail: string): Promise<unknown> {
    try {
      await this.#machine?.destroy(reason, detail);
      return undefined;
    } catch (error) {
      return error;
    }
  }

  #endedError(): BulkheadError {
    const { state, error } = this.#record;
    const why: ErrorCode | null = error?.code ?? null;
    return new BulkheadError(
      'session_ended',
      why === null ? 'The session was terminated.' : 'The session has failed.',
      {
        hint: 'Create another session.',
        details: { state, reason: why },
      },
    );
  }

  #forgetOldTurns(): void {
    let bytes = 0;
    const newestFirst = [...this.#turns.values()].toReversed();
    for (const [index, turn] of newestFirst.entries()) {
      bytes += turn.log.sizeBytes;
      if (turn.ended && (index >= turnsKeptMaxCount || bytes > turnsKeptMaxBytes)) this.#turns.delete(turn.id);
    }
  }

  #to(state: SessionState, change: SessionChange): void {
    const before = this.#record;
    this.#record = transition(before, state, change);
    this.#options.onTransition(before, this.#record);
  }
}
