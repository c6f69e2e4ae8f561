// One session: its record, its machine while it has one, and the turns that can still be read. Whatever ends it first (a
// caller, its machine, a deadline, a failed launch) wins; everyone else is told what happened. What it does to its machine it does one
// at a time: a state of its own for each keeps the others out.

import {
  BulkheadError,
  type ErrorJson,
  type Labels,
  type Language,
  type SessionState,
  type TurnEvent,
  type TurnId,
  type TurnOutcome,
  type TurnRequest,
  limits,
} from '@bulkhead/protocol';
import type { CallOptions } from '../guest/guest.ts';
import type { Coming, Machine, MachineExit, SnapshotSource } from '../runtimes/runtime.ts';
import { type LaunchRequest, type PendingLaunch, startLaunch } from './launch.ts';
import { errorJson, exitReason, machineError } from './machine-error.ts';
import { RecordKeeping } from './record-keeping.ts';
import type { SessionGuest } from './session-guest.ts';
import type { Capture, KeptSnapshot, SnapshotKeeper } from './session-journal.ts';
import { busyError, changedError, endedError, notKeptError } from './session-errors.ts';
import { type SessionChange, type SessionRecord, amend, isFinal, transition } from './session-record.ts';
import type { SessionOptions } from './session-options.ts';
import { TimeLimit } from './time-limit.ts';
import { TurnHistory } from './turn-history.ts';
import { checkContext, checkLanguage, checkTurnRequest, defaultContext } from './turn-request.ts';
import { RunningTurn, type Turn } from './turn.ts';

export class Session {
  readonly #options: SessionOptions;
  readonly #giveUp = new AbortController();
  readonly #turns: TurnHistory;
  readonly #timeLimit: TimeLimit;
  readonly #keeping: RecordKeeping;
  #record: SessionRecord;
  #launched: Promise<void> = Promise.resolve();
  #launch: PendingLaunch | undefined;
  #machine: Machine | undefined;
  #turn: RunningTurn | undefined;
  #suspending: Promise<SessionRecord> | undefined;
  #waking: Promise<SessionRecord> | undefined;
  /** A capture or a restore that is under way: a termination waits for its end. */
  #atWork: Promise<unknown> = Promise.resolve();
  #termination: Promise<SessionRecord> | undefined;
  /** The guest's roads to its tools, in this epoch. */
  #attached: Promise<void> = Promise.resolve();

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#turns = new TurnHistory({ isWrittenDown: options.journal !== undefined });
    this.#record = options.record;
    this.#keeping = new RecordKeeping({
      journal: options.journal,
      begun: options.begun ?? Promise.resolve(),
      clock: options.clock,
      onLost: () => void this.#destroyMachine('destroyed', 'another server has taken the session'),
    });
    this.#timeLimit = new TimeLimit(options.clock, (expiry) => void this.#expire(expiry));
    this.#timeLimit.show(this.#record);
  }

  get record(): SessionRecord {
    return this.#record;
  }

  /** Launches the machine: once, before anything else. Rejects with why there is none; the session is then final. */
  launch(options: LaunchRequest): Promise<void> {
    const launched = this.#launchFirst(options);
    this.#launched = launched.catch(() => undefined);
    return launched;
  }

  async #launchFirst(options: LaunchRequest): Promise<void> {
    let machine: Machine;
    try {
      machine = await this.#launchMachine(options);
    } catch (error) {
      if (this.#record.state === 'creating') this.#fail(errorJson(error));
      throw BulkheadError.is(error)
        ? error
        : new BulkheadError('launch_failed', 'The machine could not be launched.', { cause: error });
    }
    await this.#adopt(machine, 'creating', {});
  }

  async #launchMachine({ signal, onProgress, origin }: LaunchRequest): Promise<Machine> {
    const { clock, queue, pool } = this.#options;
    const { id: session, tenant, size } = this.#record;
    await this.#keeping.durable();
    this.#launch = startLaunch({
      runtime: this.#options.runtime(),
      minima: this.#options.minima(),
      clock,
      queue,
      ...(pool === undefined ? {} : { pool }),
      spec: { tenant, session, size },
      timeoutMs: limits.launchTimeoutMs,
      signal: AbortSignal.any([this.#giveUp.signal, ...(signal === undefined ? [] : [signal])]),
      ...(origin === undefined ? {} : { origin }),
      ...(onProgress === undefined ? {} : { onProgress }),
    });
    return await this.#launch.machine;
  }

  /** The machine is the session's from here on; unless the session went somewhere else meanwhile. */
  async #adopt(machine: Machine, from: SessionState, change: SessionChange): Promise<void> {
    if (this.#record.state !== from) {
      await machine.destroy('destroyed', 'the session was terminated meanwhile');
      throw endedError(this.#record);
    }
    this.#machine = machine;
    void machine.exited.then((exit) => this.#machineExited(machine, exit));
    void machine.guest.ended.then((end) => machine.destroy(exitReason(end), end.detail).catch(() => undefined));
    this.#to('ready', {
      ...change,
      tier: machine.tier,
      machine: machine.id,
      bootId: machine.bootId,
      launch: machine.timings,
      epoch: machine.epoch,
      activeAtUnixMs: this.#options.clock.unixMs(),
    });
    await this.#attached;
    await this.#keeping.durable();
  }

  /** Errors: `invalid_request`, `limit_exceeded`, `state_conflict` while another turn runs, `session_ended`, `cancelled`. */
  startTurn(request: TurnRequest, options: CallOptions = {}): Turn {
    const checked = checkTurnRequest(request);
    const machine = this.#idleMachine();
    const { signal } = options;
    if (signal?.aborted === true) throw new BulkheadError('cancelled', 'The turn was cancelled before it started.');
    const { journal, clock } = this.#options;
    const onAbort = (): void => turn.interrupt();
    const turn: RunningTurn = new RunningTurn({
      sessionId: this.#record.id,
      request: checked,
      machine,
      clock,
      onSettled: (events, outcome) => {
        signal?.removeEventListener('abort', onAbort);
        const kept = this.#turnSettled(turn, events, outcome);
        return journal === undefined ? undefined : kept;
      },
    });
    this.#turn = turn;
    this.#turns.add(turn);
    const busy = { turn: turn.id, turnCount: this.#record.turnCount + 1 };
    const intent = { id: turn.id, request: checked };
    const begun = this.#become(transition(this.#record, 'busy', busy), (session) =>
      this.#keeping.keepWith(session, (keeper) => keeper.startTurn({ ...intent, session })),
    );
    if (journal === undefined) turn.start();
    else {
      turn.begun = begun;
      begun.then(
        () => turn.start(),
        (error: unknown) => turn.fail(error),
      );
    }
    if (!turn.ended) signal?.addEventListener('abort', onAbort, { once: true });
    return turn;
  }

  /** In place of those that it has. Errors: `precondition_failed` when it is not that generation any more, `session_ended`, `store_unavailable`. */
  async updateLabels(labels: Labels, expectedGeneration?: number): Promise<SessionRecord> {
    // Whether it gets its machine is being decided: the store has one of two records.
    if (this.#is('resuming')) await this.#atWork;
    const { state, generation } = this.#record;
    if (isFinal(this.#record) || state === 'terminating') throw endedError(this.#record);
    if (expectedGeneration !== undefined && expectedGeneration !== generation) throw changedError(this.#record);
    const amended = amend(this.#record, { labels });
    this.#become(amended, (after) => this.#keeping.keep(after));
    await this.#keeping.durable();
    return amended;
  }

  /** A turn that runs or whose events are still kept. Errors: `not_found`. */
  turn(id: TurnId): Turn {
    return this.#turns.get(id);
  }

  /** Ends the interpreter of a context; the next turn starts a new one. Errors: `state_conflict` during a turn. */
  async restartContext(language: Language, context: string = defaultContext, options: CallOptions = {}): Promise<void> {
    checkLanguage(language);
    checkContext(context);
    await this.#idleMachine().guest.restartContext(language, context, options);
  }

  /** Errors: `state_conflict` while the session has no machine at hand, `session_ended`. */
  get guest(): SessionGuest {
    return this.#usableMachine().guest;
  }

  /** Writes the machine out and ends it; idempotent. Errors: `state_conflict`, `unsupported`, `session_ended`, and those of `Machine.capture`. */
  suspend(): Promise<SessionRecord> {
    if (this.#record.state === 'suspended') return Promise.resolve(this.#record);
    this.#suspending ??= this.#work(this.#suspend()).finally(() => (this.#suspending = undefined));
    return this.#suspending;
  }

  async #suspend(): Promise<SessionRecord> {
    const keeper = this.#needKeeper();
    const machine = this.#idleMachine();
    this.#to('suspending', {});
    const { tenant, id: session } = this.#record;
    let stopped = false;
    let kept: KeptSnapshot;
    try {
      const what = { kind: 'suspend', name: null, unixMs: this.#options.clock.unixMs() } as const;
      kept = await keeper.save({ tenant, session }, what, async (target) => {
        const facts = await machine.capture(target);
        stopped = true;
        await this.#keeping.durable();
        return facts;
      });
    } catch (error) {
      if (this.#record.state !== 'suspending') throw endedError(this.#record);
      if (stopped) await machine.resume();
      this.#to('ready', { epoch: machine.epoch });
      throw error;
    }
    if (this.#record.state !== 'suspending') throw endedError(this.#record);
    this.#machine = undefined;
    this.#to('suspended', {
      snapshot: kept.id,
      epoch: kept.epoch,
      machine: null,
      activeAtUnixMs: this.#options.clock.unixMs(),
    });
    // The machine goes when it is certain that the session can do without it.
    await this.#keeping.kept;
    await machine.destroy('destroyed', 'the session was suspended');
    return this.#record;
  }

  /** A machine for a suspended session; idempotent. Errors: `state_conflict`, `session_ended`, those of `Runtime.restore`: it then stays suspended. */
  wake(options: LaunchRequest = {}): Promise<SessionRecord> {
    if (this.#record.state === 'ready' || this.#record.state === 'busy') return Promise.resolve(this.#record);
    this.#waking ??= this.#work(this.#wake(options)).finally(() => (this.#waking = undefined));
    return this.#waking;
  }

  async #wake(options: LaunchRequest): Promise<SessionRecord> {
    if (isFinal(this.#record) || this.#record.state === 'terminating') throw endedError(this.#record);
    if (this.#record.state !== 'suspended') throw busyError(this.#record);
    const keeper = this.#needKeeper();
    const { tenant, id: session, snapshot } = this.#record;
    if (snapshot === null) throw new BulkheadError('internal', 'A suspended session has no snapshot.');
    try {
      await this.#toResuming();
      await using opened = keeper.open({ tenant, session }, snapshot);
      const machine = await this.#launchMachine({ ...options, origin: { source: opened.source, renew: false } });
      await this.#adopt(machine, 'resuming', { snapshot: null });
    } catch (error) {
      if (this.#is('resuming')) this.#to('suspended', {});
      throw error;
    }
    // It can be restored once: what it has become since is more than what lies there. Nobody waits for that; the reconciler removes what cannot be now.
    void this.#work(keeper.remove({ tenant, session }, snapshot)).catch(() => undefined);
    return this.#record;
  }

  /**
   * Has the session stand still while `write` copies it, and go on. Throws at once `state_conflict` during a turn or an operation, and
   * `session_ended`; later errors: those of `Machine.capture`.
   */
  capture<T>(write: (capture: Capture) => Promise<T>): Promise<T> {
    const machine = this.#idleMachine();
    this.#to('capturing', {});
    return this.#work(this.#capture(machine, write));
  }

  async #capture<T>(machine: Machine, write: (capture: Capture) => Promise<T>): Promise<T> {
    try {
      await using stack = new AsyncDisposableStack();
      await this.#keeping.durable();
      return await write(async (target) => {
        const facts = await machine.capture(target);
        const goesOn = machine.resume();
        goesOn.catch(() => undefined); // told when the stack is disposed of
        stack.defer(() => goesOn);
        return facts;
      });
    } finally {
      if (this.#record.state === 'capturing') this.#to('ready', { epoch: machine.epoch });
      await this.#attached;
    }
  }

  /** Puts the session back to what a checkpoint of it holds. What it was until then goes only when it is there. */
  restore(source: Coming<SnapshotSource>, options: LaunchRequest = {}): Promise<SessionRecord> {
    return this.#work(this.#restore(source, options));
  }

  async #restore(source: Coming<SnapshotSource>, options: LaunchRequest): Promise<SessionRecord> {
    const { state, snapshot } = this.#record;
    const former = state === 'suspended' ? undefined : this.#idleMachine();
    const { tenant, id: session } = this.#record;
    try {
      await this.#toResuming();
      const machine = await this.#launchMachine({ ...options, origin: { source, renew: true } });
      await this.#adopt(machine, 'resuming', { snapshot: null });
    } catch (error) {
      if (this.#is('resuming')) this.#to(former === undefined ? 'suspended' : 'ready', {});
      throw error;
    }
    await former?.destroy('destroyed', 'the session was put back to a checkpoint');
    if (snapshot !== null) await this.#options.keeper?.remove({ tenant, session }, snapshot);
    return this.#record;
  }

  /** Ends the session; idempotent, in every state. Returns when nothing of its machine is left, and nothing that was kept of it can be read. */
  terminate(): Promise<SessionRecord> {
    this.#termination ??= this.#terminate().catch((error: unknown) => {
      this.#termination = undefined;
      throw error;
    });
    return this.#termination;
  }

  async #terminate(): Promise<SessionRecord> {
    if (!isFinal(this.#record) && this.#record.state !== 'terminating') {
      this.#to('terminating', { turn: null });
      this.#turn?.abandon('session_ended', 'The session was terminated during the turn.');
      this.#giveUp.abort(endedError(this.#record));
    }
    await this.#launched;
    await this.#launch?.released;
    this.#launch = undefined;
    const failure = await this.#destroyMachine('destroyed', 'the session was terminated');
    await this.#atWork;
    await this.#keeping.durable();
    const forgotten = await this.#forget();
    if (this.#record.state === 'terminating') {
      if (failure === undefined && forgotten === undefined) this.#to('terminated', this.#ending());
      else this.#fail(errorJson(failure ?? forgotten));
    }
    await this.#keeping.durable();
    return this.#record;
  }

  /** Lets go of a session that somebody else goes on with: its machine ends, what is kept stays. */
  async release(): Promise<void> {
    this.#timeLimit.stop();
    await this.#destroyMachine('destroyed', 'the server stopped');
    await this.#keeping.kept.catch(() => undefined);
  }

  /** One thing at a time, and a termination waits for it. */
  #work<T>(work: Promise<T>): Promise<T> {
    this.#atWork = work.catch(() => undefined);
    return work;
  }

  async #expire(expiry: 'idle' | 'sleep' | 'lifetime'): Promise<void> {
    const activeAtUnixMs = this.#machine?.guest.activeAtUnixMs ?? 0;
    if (expiry === 'idle' && activeAtUnixMs > this.#record.activeAtUnixMs) {
      this.#stillActive(activeAtUnixMs);
      return;
    }
    if (expiry !== 'idle' || this.#options.keeper === undefined) {
      await this.terminate().catch(() => undefined);
      return;
    }
    // What cannot be suspended now is tried again after as long; its lifetime ends it at last.
    await this.suspend().catch(() => {
      if (this.#record.state === 'ready') this.#stillActive(this.#options.clock.unixMs());
    });
  }

  #stillActive(activeAtUnixMs: number): void {
    this.#record = { ...this.#record, activeAtUnixMs };
    this.#timeLimit.show(this.#record);
  }

  #is(state: SessionState): boolean {
    return this.#record.state === state;
  }

  #needKeeper(): SnapshotKeeper {
    if (this.#options.keeper === undefined) throw notKeptError();
    return this.#options.keeper;
  }

  #usableMachine(): Machine {
    const { state } = this.#record;
    if (isFinal(this.#record) || state === 'terminating') throw endedError(this.#record);
    if (this.#machine === undefined || (state !== 'ready' && state !== 'busy')) throw busyError(this.#record);
    return this.#machine;
  }

  #idleMachine(): Machine {
    const machine = this.#usableMachine();
    if (this.#record.state === 'busy') throw busyError(this.#record);
    return machine;
  }

  /** What comes of a turn for the session, kept with the turn's end: both or neither. */
  async #turnSettled(turn: RunningTurn, events: readonly TurnEvent[], outcome: TurnOutcome): Promise<void> {
    this.#turn = undefined;
    const keep = (after: SessionRecord | null): Promise<void> =>
      this.#keeping.keepWith(after, (journal) =>
        journal.endTurn({ id: turn.id, tenant: this.#record.tenant, after }, events, outcome),
      );
    const kept = this.#record.state === 'busy' ? this.#become(this.#afterTurn(outcome), keep) : keep(null);
    if (this.#is('failed')) this.#letGo();
    // Where its start was not kept, that is told.
    kept.catch(() => undefined);
    await turn.begun;
    await kept;
  }

  #afterTurn({ context, error }: TurnOutcome): SessionRecord {
    const activeAtUnixMs = this.#options.clock.unixMs();
    if (context !== 'gone') return transition(this.#record, 'ready', { turn: null, activeAtUnixMs });
    const lost: ErrorJson = { code: 'machine_lost', message: 'The machine ended unexpectedly.' };
    return transition(this.#record, 'failed', this.#failure(error ?? lost));
  }

  #machineExited(machine: Machine, exit: MachineExit): void {
    if (machine !== this.#machine) return;
    if (this.#turn !== undefined) this.#turn.machineExited(exit);
    else if (!isFinal(this.#record) && this.#record.state !== 'terminating') this.#fail(machineError(exit).toJSON());
  }

  #fail(error: ErrorJson): void {
    this.#to('failed', this.#failure(error));
    this.#letGo();
  }

  #failure(error: ErrorJson): SessionChange {
    return { ...this.#ending(), error, turn: null };
  }

  #letGo(): void {
    void this.#destroyMachine('crashed', this.#record.error?.message ?? 'the session has failed');
    void this.#forget();
  }

  #ending(): SessionChange {
    return { endedAtUnixMs: this.#options.clock.unixMs(), snapshot: null };
  }

  /**
   * Never rejects, as `#destroyMachine`. That the session is over is durable first: a server that is killed after the key is gone must not
   * leave a session that seems to sleep. What cannot be removed now the reconciler removes.
   */
  async #forget(): Promise<unknown> {
    const { tenant, id: session } = this.#record;
    try {
      await this.#keeping.kept;
      await this.#options.keeper?.forget({ tenant, session });
      return undefined;
    } catch (error) {
      return error;
    }
  }

  /** Never rejects: answers with what went wrong, so that whoever waits can tell. */
  async #destroyMachine(reason: MachineExit['reason'], detail: string): Promise<unknown> {
    try {
      await this.#machine?.destroy(reason, detail);
      if (isFinal(this.#record) || this.#is('terminating')) this.#machine = undefined;
      return undefined;
    } catch (error) {
      return error;
    }
  }

  /** A session that sleeps is refused a machine where the tenant's quotas do not allow one. Errors: `quota_exceeded`, `host_unsupported`. */
  #toResuming(): Promise<void> {
    const before = this.#record;
    return this.#become(transition(before, 'resuming'), (after) => this.#keeping.keepUnlessRefused(after, before));
  }

  #to(state: SessionState, change: SessionChange): void {
    const from = this.#record.state;
    this.#become(transition(this.#record, state, change), (after) => this.#keeping.keep(after));
    // Every road to `ready` but a turn's end leads through a new epoch, or one that was about to begin.
    if (state === 'ready' && from !== 'busy' && this.#machine !== undefined) {
      this.#attached = Promise.resolve(this.#options.tools?.attach(() => this.#record, this.#machine.guest));
      this.#attached.catch(() => undefined);
    }
  }

  #become<T>(after: SessionRecord, keep: (after: SessionRecord) => T): T {
    const before = this.#record;
    this.#record = after;
    this.#timeLimit.show(after);
    if (isFinal(after)) this.#turns.close();
    const kept = keep(after);
    this.#options.onTransition(before, after);
    return kept;
  }
}
