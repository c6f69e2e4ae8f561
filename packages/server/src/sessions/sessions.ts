// The use cases around sessions: what the command line calls in-process and what an HTTP API translates to. Every call names
// its tenant; another tenant's session does not exist.
//
// A session runs one turn at a time. Contexts keep variables apart; they are not a way to run turns side by side. Commands,
// background processes and files may be used during a turn.
//
// "Is my session still usable?" is answered by the `context` of every outcome: `kept` (go on), `lost` (go on; variables are
// gone, files are not), `gone` (the session has ended).

import { availableParallelism } from 'node:os';
import {
  BulkheadError,
  type Labels,
  type Language,
  type RuntimeName,
  type SessionId,
  type SizeName,
  type TenantId,
  type Tier,
  type TimeLimits,
  type TurnId,
  type TurnRequest,
  defaultSize,
  limits,
  makeId,
} from '@bulkhead/protocol';
import { checkGrant, narrowGrant } from '../authority/grant.ts';
import type { ToolDescription } from '../authority/tool-description.ts';
import type { CallAnswer } from '../guest/guest-calls.ts';
import type { CallOptions } from '../guest/guest.ts';
import { type Clock, systemClock } from '../lib/clock.ts';
import type { Plan } from '../placement/place.ts';
import {
  checkCheckpointName,
  checkLabels,
  checkPlacement,
  checkSize,
  checkSubject,
  checkTimeLimits,
} from './create-request.ts';
import { openForkSource } from './fork-source.ts';
import { type KeptSnapshot, type SessionJournal, type SnapshotKeeper, isRefusal } from './session-journal.ts';
import { type SessionRecord, isFinal, localSubject } from './session-record.ts';
import type { SessionGuest } from './session-guest.ts';
import type { SessionCall, SessionTools } from './session-tools.ts';
import { OutsideCalls, type OutsideOptions } from './outside-calls.ts';
import type { LaunchRequest } from './launch.ts';
import { LaunchQueue } from './launch-queue.ts';
import { RuntimeChoice, type RuntimeChoiceOptions } from './runtime-choice.ts';
import { Session } from './session.ts';
import type { Turn } from './turn.ts';
import { type PoolBounds, WarmPool } from './warm-pool.ts';

export interface CreateSessionRequest {
  readonly tenant: TenantId;
  /** Whose it is, within the tenant. */
  readonly subject?: string;
  readonly labels?: Labels;
  /** `tool.operation` or `tool.*`: what its code may ask for; nothing unless said. */
  readonly grant?: readonly string[];
  readonly size?: SizeName;
  readonly timeLimits?: Partial<TimeLimits>;
  /** The strongest that may have it, unless one is named. */
  readonly runtime?: RuntimeName;
  /** No machine that is isolated less, now or later; none unless said. */
  readonly minimumTier?: Tier;
}

/** What a session is from its first moment on. */
type NewSession = Pick<
  SessionRecord,
  'tenant' | 'subject' | 'labels' | 'grant' | 'size' | 'runtime' | 'tier' | 'minimumTier' | 'timeLimits' | 'parent'
>;

export interface CreateSessionOptions extends CallOptions {
  /** Told while something long is made first: the image, a template. */
  readonly onProgress?: (message: string) => void;
}

export interface ForkSessionOptions extends CreateSessionOptions {
  /** Whose the forks are; the parent's own subject when none is given. */
  readonly subject?: string;
  /** A part of what the parent was granted; all of it when none is given. */
  readonly grant?: readonly string[];
}

export interface SessionsOptions extends RuntimeChoiceOptions {
  readonly clock?: Clock;
  /** Where sessions are kept beyond this process; without them they end with it. */
  readonly journal?: SessionJournal;
  readonly keeper?: SnapshotKeeper;
  /** What answers the calls that guest code makes to its tools; without it there are none. */
  readonly tools?: SessionTools;
  /** How many machines are held ready for sessions to come; none without it. */
  readonly pool?: PoolBounds;
  /** A new session that would wait for longer until its machine is begun with is refused; none is without it. */
  readonly launchWaitMaxMs?: number;
  /** Called after every transition, in order; must not throw. `before` is undefined for a new session. */
  readonly onTransition?: (before: SessionRecord | undefined, after: SessionRecord) => void;
}

/** A session that its creator holds: disposing it terminates it. */
export interface SessionHandle extends AsyncDisposable {
  readonly id: SessionId;
  readonly record: SessionRecord;
  readonly guest: SessionGuest;
  startTurn(request: TurnRequest, options?: CallOptions): Turn;
  restartContext(language: Language, context?: string, options?: CallOptions): Promise<void>;
  terminate(): Promise<SessionRecord>;
}

/** Side by side they take each other's processor time: more at once, and all of them time out. */
const launchesAtOnce = 2 * availableParallelism();
/** Children of one fork that are launched side by side. */
const forksAtOnce = 4;
/** Records of ended sessions that are still answered for. */
const endedKeptMaxCount = 1000;

export class Sessions implements AsyncDisposable {
  readonly #choice: RuntimeChoice;
  readonly #clock: Clock;
  readonly #journal: SessionJournal | undefined;
  readonly #keeper: SnapshotKeeper | undefined;
  readonly #tools: SessionTools | undefined;
  readonly #outside: OutsideCalls | undefined;
  readonly #onTransition: (before: SessionRecord | undefined, after: SessionRecord) => void;
  readonly #queue: LaunchQueue;
  readonly #pool: WarmPool | undefined;
  readonly #sessions = new Map<SessionId, Session>();
  #closing: Promise<void> | undefined;

  constructor(options: SessionsOptions) {
    this.#choice = new RuntimeChoice(options);
    this.#clock = options.clock ?? systemClock;
    this.#journal = options.journal;
    this.#keeper = options.keeper;
    this.#tools = options.tools;
    this.#outside = options.tools === undefined ? undefined : new OutsideCalls(options.tools);
    const { launchWaitMaxMs } = options;
    this.#queue = new LaunchQueue({
      clock: this.#clock,
      places: launchesAtOnce,
      ...(launchWaitMaxMs === undefined ? {} : { waitMaxMs: launchWaitMaxMs }),
    });
    const shared = { clock: this.#clock, queue: this.#queue };
    this.#pool = options.pool === undefined ? undefined : new WarmPool({ ...shared, ...options.pool });
    this.#onTransition = options.onTransition ?? ((): void => undefined);
  }

  /**
   * A session with its machine running. Cancelled or failed, it leaves no machine behind.
   * Errors: `invalid_request`, `tier_unavailable`, `capacity_exhausted`, `session_ended` when it was terminated meanwhile, `cancelled`, and those of `Runtime.prepare` and `launch`.
   */
  async createSession(request: CreateSessionRequest, options: CreateSessionOptions = {}): Promise<SessionHandle> {
    const { id, ready } = this.beginSession(request, options);
    await ready;
    return this.#handle(request.tenant, id);
  }

  /** The same, for a caller that wants the id at once: the session can be seen and terminated while it is being created. */
  beginSession(
    request: CreateSessionRequest,
    options: CreateSessionOptions = {},
  ): { readonly id: SessionId; readonly ready: Promise<SessionRecord> } {
    const { tenant, size = defaultSize, minimumTier = 'none' } = request;
    checkSize(size);
    checkPlacement(request);
    if (this.#closing !== undefined) throw new BulkheadError('state_conflict', 'Bulkhead is closing.');
    const timeLimits = checkTimeLimits(request.timeLimits);
    const { runtime, tier } = this.#choice.place(request).capabilities;
    const subject = checkSubject(request.subject ?? localSubject);
    const labels = checkLabels(request.labels ?? {});
    const grant = checkGrant(request.grant ?? []);
    const admission = this.#queue.admit(tenant, 1);
    const [session] = this.#begin(
      { tenant, subject, labels, grant, size, runtime, tier, minimumTier, timeLimits, parent: null },
      1,
    );
    if (session === undefined) throw new TypeError('one session was begun');
    return { id: session.record.id, ready: launch(session, options, admission) };
  }

  /** Where a session would go, and why. Errors: `invalid_request`. */
  planSession(request: Pick<CreateSessionRequest, 'tenant' | 'runtime' | 'minimumTier'>): Plan {
    checkPlacement(request);
    return this.#choice.plan(request);
  }

  /** So many new sessions, kept all together or not at all; none has a machine yet. */
  #begin(what: NewSession, count: number): readonly Session[] {
    const now = this.#clock.unixMs();
    const records = Array.from({ length: count }, (): SessionRecord => ({
      ...what,
      id: makeId('session'),
      state: 'creating',
      generation: 1,
      createdAtUnixMs: now,
      activeAtUnixMs: now,
      endedAtUnixMs: null,
      machine: null,
      bootId: null,
      launch: null,
      turn: null,
      turnCount: 0,
      epoch: 0,
      snapshot: null,
      error: null,
    }));
    const begun = this.#journal?.beginSessions(records);
    // What the tenant may not have has never been.
    begun?.catch((error: unknown) => {
      if (isRefusal(error)) for (const { id } of records) this.#sessions.delete(id);
    });
    const sessions = records.map((record) => this.#open(record, begun));
    for (const record of records) this.#onTransition(undefined, record);
    return sessions;
  }

  #open(record: SessionRecord, begun?: Promise<void>): Session {
    const session = new Session({
      runtime: () => this.#choice.find(record.runtime),
      minima: () => this.#choice.minima(record),
      clock: this.#clock,
      queue: this.#queue,
      ...(this.#pool === undefined ? {} : { pool: this.#pool }),
      record,
      ...(begun === undefined ? {} : { begun }),
      ...(this.#journal === undefined ? {} : { journal: this.#journal }),
      ...(this.#keeper === undefined ? {} : { keeper: this.#keeper }),
      ...(this.#tools === undefined ? {} : { tools: this.#tools }),
      onTransition: (before, after) => {
        if (isFinal(after)) this.#forgetOldSessions();
        this.#onTransition(before, after);
      },
    });
    this.#sessions.set(record.id, session);
    return session;
  }

  /** Takes up a session that is kept and has no machine. */
  takeUp(record: SessionRecord): void {
    this.#open(record);
  }

  /** Errors: `not_found`, and those of `Session.suspend`. */
  async suspendSession(tenant: TenantId, id: SessionId): Promise<SessionRecord> {
    return await this.#find(tenant, id).suspend();
  }

  /** Errors: `not_found`, and those of `Session.wake`. */
  async resumeSession(tenant: TenantId, id: SessionId, options: CreateSessionOptions = {}): Promise<SessionRecord> {
    return await this.#find(tenant, id).wake(options);
  }

  /** A session that is there, resumed when it sleeps. Errors: `not_found`, those of `Session.wake`. */
  async openSession(tenant: TenantId, id: SessionId, options: CreateSessionOptions = {}): Promise<SessionHandle> {
    await this.#find(tenant, id).wake(options);
    return this.#handle(tenant, id);
  }

  /**
   * `count` new sessions that begin as copies of one that is ready or suspended, each with randomness, names and keys of its own. All of them, or none.
   * Errors: `not_found`, `invalid_request`, `forbidden` for a grant beyond the parent's, `capacity_exhausted`, `state_conflict`, `session_ended`, those of `Machine.capture` and `Runtime.restore`.
   */
  async forkSession(
    tenant: TenantId,
    id: SessionId,
    count = 1,
    options: ForkSessionOptions = {},
  ): Promise<readonly SessionRecord[]> {
    if (!Number.isInteger(count) || count < 1 || count > limits.forksMaxCount) {
      throw new BulkheadError('invalid_request', `A session is forked into 1 to ${limits.forksMaxCount}.`, {
        details: { field: 'count', minimum: 1, maximum: limits.forksMaxCount },
      });
    }
    const parent = this.#find(tenant, id);
    const grant = narrowGrant(parent.record.grant, options.grant);
    using _admission = this.#queue.admit(tenant, count);
    await using origin = openForkSource(parent, this.#keeper, this.#clock);
    const { labels, size, runtime, tier, minimumTier, timeLimits } = parent.record;
    const subject = checkSubject(options.subject ?? parent.record.subject);
    const children = this.#begin(
      { tenant, subject, labels, grant, size, runtime, tier, minimumTier, timeLimits, parent: id },
      count,
    );
    const request = { ...options, origin: { source: origin.source, renew: true } };
    const forked: SessionRecord[] = [];
    try {
      while (forked.length < count) {
        const batch = children.slice(forked.length, forked.length + forksAtOnce);
        const settled = await Promise.allSettled(batch.map((child) => launch(child, request)));
        const failed = settled.find((outcome) => outcome.status === 'rejected');
        if (failed !== undefined) throw failed.reason;
        for (const outcome of settled) if (outcome.status === 'fulfilled') forked.push(outcome.value);
      }
    } catch (error) {
      await Promise.allSettled(children.map((child) => child.terminate()));
      await origin.source; // where it failed, that is why
      throw error;
    }
    return forked;
  }

  /** Keeps what the session is now, under a name. Errors: `not_found`, `invalid_request`, `state_conflict`, `unsupported`, those of `Machine.capture`. */
  async checkpointSession(tenant: TenantId, id: SessionId, name: string): Promise<KeptSnapshot> {
    checkCheckpointName(name);
    const keeper = this.#needKeeper();
    const session = this.#find(tenant, id);
    const what = { kind: 'checkpoint', name, unixMs: this.#clock.unixMs() } as const;
    return await session.capture((capture) => keeper.save({ tenant, session: id }, what, capture));
  }

  /** Oldest first. Errors: `not_found`, `unsupported`. */
  async listCheckpoints(tenant: TenantId, id: SessionId): Promise<readonly KeptSnapshot[]> {
    this.#find(tenant, id);
    const kept = await this.#needKeeper().list({ tenant, session: id });
    return kept.filter(({ kind }) => kind === 'checkpoint');
  }

  /** Puts a session back to a checkpoint, in place. Errors: `not_found`, `state_conflict`, `session_ended`, those of `Runtime.restore`. */
  async restoreCheckpoint(tenant: TenantId, id: SessionId, name: string): Promise<SessionRecord> {
    const session = this.#find(tenant, id);
    const checkpoint = await this.#checkpoint(tenant, id, name);
    await using opened = this.#needKeeper().open({ tenant, session: id }, checkpoint.id);
    return await session.restore(opened.source);
  }

  /** Errors: `not_found`. */
  async deleteCheckpoint(tenant: TenantId, id: SessionId, name: string): Promise<void> {
    this.#find(tenant, id);
    const checkpoint = await this.#checkpoint(tenant, id, name);
    await this.#needKeeper().remove({ tenant, session: id }, checkpoint.id);
  }

  async #checkpoint(tenant: TenantId, id: SessionId, name: string): Promise<KeptSnapshot> {
    const found = (await this.listCheckpoints(tenant, id)).find((checkpoint) => checkpoint.name === name);
    if (found === undefined) throw new BulkheadError('not_found', `There is no checkpoint ${JSON.stringify(name)}.`);
    return found;
  }

  #needKeeper(): SnapshotKeeper {
    if (this.#keeper !== undefined) return this.#keeper;
    throw new BulkheadError('unsupported', 'Nothing keeps sessions here.');
  }

  /** Machines that are held ready. */
  get readyCount(): number {
    return this.#pool?.count ?? 0;
  }

  /** Replaces the labels of a session. Errors: `not_found`, `invalid_request`, `precondition_failed`, `session_ended`, `store_unavailable`. */
  async updateLabels(
    tenant: TenantId,
    id: SessionId,
    labels: Labels,
    expectedGeneration?: number,
  ): Promise<SessionRecord> {
    return await this.#find(tenant, id).updateLabels(checkLabels(labels), expectedGeneration);
  }

  /** Errors: `not_found`. */
  getSession(tenant: TenantId, id: SessionId): SessionRecord {
    return this.#find(tenant, id).record;
  }

  /** The tenant's sessions, newest last, ended ones as long as they are kept. */
  listSessions(tenant: TenantId): readonly SessionRecord[] {
    return [...this.#sessions.values()].map((session) => session.record).filter((record) => record.tenant === tenant);
  }

  /** The same as `startTurn`, for a session that may be suspended: it is resumed first. */
  async takeTurn(
    tenant: TenantId,
    id: SessionId,
    request: TurnRequest,
    options: CreateSessionOptions = {},
  ): Promise<Turn> {
    const session = this.#find(tenant, id);
    if (session.record.state === 'suspended' || session.record.state === 'resuming') await session.wake(options);
    return session.startTurn(request, options);
  }

  /** Errors: `not_found`, `invalid_request`, `limit_exceeded`, `state_conflict` while a turn runs, `session_ended`, `cancelled`. */
  startTurn(tenant: TenantId, id: SessionId, request: TurnRequest, options: CallOptions = {}): Turn {
    return this.#find(tenant, id).startTurn(request, options);
  }

  /** A running turn, or one whose events are still kept. Errors: `not_found`. */
  getTurn(tenant: TenantId, id: SessionId, turn: TurnId): Turn {
    return this.#find(tenant, id).turn(turn);
  }

  /** Errors: `not_found`, `invalid_request`, `state_conflict` during a turn, `session_ended`. */
  async restartContext(
    tenant: TenantId,
    id: SessionId,
    language: Language,
    context?: string,
    options: CallOptions = {},
  ): Promise<void> {
    await this.#find(tenant, id).restartContext(language, context, options);
  }

  /** Commands, background processes and files of a session. Errors: `not_found`, `state_conflict`, `session_ended`. */
  guestOf(tenant: TenantId, id: SessionId): SessionGuest {
    return this.#find(tenant, id).guest;
  }

  /** What the session was granted of what its tenant has set up. Errors: `not_found`, `store_unavailable`. */
  async listTools(tenant: TenantId, id: SessionId): Promise<readonly ToolDescription[]> {
    return (await this.#tools?.catalogue(this.#find(tenant, id).record)) ?? [];
  }

  /** A call of a tool with the session's authority, from outside of its machine. Errors: `not_found`, `unsupported`, those of `OutsideCalls.call`. */
  async callTool(
    tenant: TenantId,
    id: SessionId,
    call: SessionCall,
    options: OutsideOptions = {},
  ): Promise<CallAnswer> {
    if (this.#outside === undefined) throw new BulkheadError('unsupported', 'There are no tools here.');
    return await this.#outside.call(this.#find(tenant, id), call, options);
  }

  /** Ends a session in any state; idempotent. Returns when nothing of its machine is left. Errors: `not_found`. */
  async terminateSession(tenant: TenantId, id: SessionId): Promise<SessionRecord> {
    return await this.#find(tenant, id).terminate();
  }

  /** Takes no more, and terminates every session; what is kept is suspended instead. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= (async (): Promise<void> => {
      const closing = [...this.#sessions.values()].map((session) => this.#closeSession(session));
      await Promise.all([...closing, this.#pool?.[Symbol.asyncDispose]()]);
    })();
    return this.#closing;
  }

  async #closeSession(session: Session): Promise<void> {
    if (this.#keeper === undefined) {
      await session.terminate();
      return;
    }
    // What cannot be suspended, in the middle of a turn say, ends with its machine; the next start says so.
    if (!isFinal(session.record)) await session.suspend().catch(() => undefined);
    await session.release();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #find(tenant: TenantId, id: SessionId): Session {
    const session = this.#sessions.get(id);
    if (session === undefined || session.record.tenant !== tenant) {
      throw new BulkheadError('not_found', `There is no session ${id}.`);
    }
    return session;
  }

  #handle(tenant: TenantId, id: SessionId): SessionHandle {
    const session = this.#find(tenant, id);
    const terminate = (): Promise<SessionRecord> => session.terminate();
    return {
      id,
      get record() {
        return session.record;
      },
      get guest() {
        return session.guest;
      },
      startTurn: (request, options) => session.startTurn(request, options),
      restartContext: (language, context, options) => session.restartContext(language, context, options),
      terminate,
      async [Symbol.asyncDispose]() {
        await terminate();
      },
    };
  }

  #forgetOldSessions(): void {
    let ended = [...this.#sessions.values()].filter((session) => isFinal(session.record)).length;
    for (const session of this.#sessions.values()) {
      if (ended <= endedKeptMaxCount) return;
      if (!isFinal(session.record)) continue;
      this.#sessions.delete(session.record.id);
      ended -= 1;
    }
  }
}

/** Rejects with why there is no machine; the session is then final. */
function launch(session: Session, request: LaunchRequest, admission?: Disposable): Promise<SessionRecord> {
  const launched = session.launch(request).finally(() => admission?.[Symbol.dispose]());
  const ready = launched.then(() => session.record);
  ready.catch(() => undefined);
  return ready;
}
