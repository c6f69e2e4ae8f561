// What a caller may do with sessions, whichever dialect it speaks. A session is its subject's; with `sessions:any` it is the tenant's. What is
// another's does not exist: the very same error, from one place.
//
// Whatever needs a machine happens on the host that has the session. What is written down (records, turns, what they printed) is read anywhere.

import {
  BulkheadError,
  type Labels,
  type Language,
  type RuntimeName,
  type SessionId,
  type SizeName,
  type Tier,
  type TimeLimits,
  type TurnEvent,
  type TurnId,
  type TurnRequest,
  type TurnResult,
} from '@bulkhead/protocol';
import type { ToolDescription } from '../authority/tool-description.ts';
import type { CallAnswer } from '../guest/guest-calls.ts';
import type { Page, PageRequest } from '../lib/page.ts';
import type { AnswerOptions, SessionCall } from '../sessions/session-tools.ts';
import { endedError } from '../sessions/session-errors.ts';
import type { SessionGuest } from '../sessions/session-guest.ts';
import type { KeptSnapshot } from '../sessions/session-journal.ts';
import { type SessionRecord, isFinal } from '../sessions/session-record.ts';
import type { Sessions } from '../sessions/sessions.ts';
import type { SessionFilter, StoredSessions } from '../sessions/stored-sessions.ts';
import type { StoredTurn, StoredTurns, TurnEventPage } from '../sessions/stored-turns.ts';
import type { Turn } from '../sessions/turn.ts';
import { type Caller, checkScope } from '../tenants/caller.ts';

export interface CallOptions {
  readonly signal?: AbortSignal;
}

export interface NewSession {
  readonly size?: SizeName;
  /** The one that suits best when none is named. */
  readonly runtime?: RuntimeName;
  readonly minimumTier?: Tier;
  readonly labels?: Labels;
  readonly grant?: readonly string[];
  readonly timeLimits?: Partial<TimeLimits>;
}

/** A turn as a caller sees it; `result` is null while it runs, and in lists. */
export interface CallerTurn extends StoredTurn {
  readonly result: TurnResult | null;
}

/** Where a session is: here, or with another server that says where it can be reached. */
export type Place = 'here' | { readonly url: string };

export interface CallerSessionsOptions {
  readonly sessions: Sessions;
  readonly stored: Pick<StoredSessions, 'list' | 'get' | 'hostOf'>;
  readonly turns: Pick<StoredTurns, 'list' | 'get' | 'events'>;
}

const eventsAtOnce = 1000;

export class CallerSessions {
  readonly #sessions: Sessions;
  readonly #stored: CallerSessionsOptions['stored'];
  readonly #turns: CallerSessionsOptions['turns'];

  constructor({ sessions, stored, turns }: CallerSessionsOptions) {
    this.#sessions = sessions;
    this.#stored = stored;
    this.#turns = turns;
  }

  /** Errors: `forbidden`, `invalid_request`, `tier_unavailable`, and those of `Sessions.createSession`. */
  async create(caller: Caller, request: NewSession, options: CallOptions = {}): Promise<SessionRecord> {
    return await this.begin(caller, request, options).ready;
  }

  /** The same for a caller that wants the record at once, in the state `creating`. */
  begin(
    caller: Caller,
    request: NewSession,
    options: CallOptions = {},
  ): { readonly record: SessionRecord; readonly ready: Promise<SessionRecord> } {
    checkScope(caller, 'sessions:write');
    const { tenant, subject } = caller;
    const { id, ready } = this.#sessions.beginSession({ tenant, subject, ...request }, options);
    return { record: this.#sessions.getSession(tenant, id), ready };
  }

  /** The caller's own; all of the tenant with `sessions:any`. Errors: `forbidden`, `invalid_request`. */
  async list(caller: Caller, filter: SessionFilter, page: PageRequest): Promise<Page<SessionRecord>> {
    checkScope(caller, 'sessions:read');
    if (caller.scopes.has('sessions:any')) return await this.#stored.list(caller.tenant, filter, page);
    const { subject } = caller;
    if (filter.subject !== undefined && filter.subject !== subject) return { items: [], nextCursor: null };
    return await this.#stored.list(caller.tenant, { ...filter, subject }, page);
  }

  /** Errors: `forbidden`, `not_found`. */
  async get(caller: Caller, id: SessionId): Promise<SessionRecord> {
    checkScope(caller, 'sessions:read');
    return await this.#find(caller, id);
  }

  /**
   * Where whatever needs the session's machine has to be asked for. With `turn`: here, too, when it has ended: it is written down.
   * Errors: `not_found`, `host_unavailable`.
   */
  async locate(caller: Caller, id: SessionId, turn?: TurnId): Promise<Place> {
    const record = await this.#find(caller, id);
    if (this.#here(caller, id) !== undefined || isFinal(record)) return 'here';
    if (turn !== undefined && (await this.#turns.events(caller.tenant, id, turn, { limit: 1 })).items.length > 0) {
      return 'here';
    }
    const { here, url } = await this.#stored.hostOf(caller.tenant, id);
    if (here) return 'here';
    if (url !== null) return { url };
    throw new BulkheadError('host_unavailable', 'Another server has this session, and does not say where it is.', {
      hint: 'Set BULKHEAD_PEER_URL on every server that shares the database.',
    });
  }

  /** Errors: `not_found`, `precondition_failed`, `session_ended`. */
  async label(caller: Caller, id: SessionId, labels: Labels, version?: number): Promise<SessionRecord> {
    await this.#touch(caller, id);
    return await this.#sessions.updateLabels(caller.tenant, id, labels, version);
  }

  /** Ends a session in any state; idempotent. Errors: `not_found`, `precondition_failed`. */
  async terminate(caller: Caller, id: SessionId, version?: number): Promise<SessionRecord> {
    checkScope(caller, 'sessions:write');
    const record = await this.#find(caller, id);
    checkVersion(record, version);
    if (this.#here(caller, id) === undefined && isFinal(record)) return record;
    return await this.#sessions.terminateSession(caller.tenant, id);
  }

  /** Errors: `not_found`, and those of `Sessions.suspendSession`. */
  async suspend(caller: Caller, id: SessionId): Promise<SessionRecord> {
    await this.#touch(caller, id);
    return await this.#sessions.suspendSession(caller.tenant, id);
  }

  /** Errors: `not_found`, and those of `Sessions.resumeSession`. */
  async resume(caller: Caller, id: SessionId, options: CallOptions = {}): Promise<SessionRecord> {
    await this.#touch(caller, id);
    return await this.#sessions.resumeSession(caller.tenant, id, options);
  }

  /** The copies are the caller's. Errors: `not_found`, and those of `Sessions.forkSession`. */
  async fork(
    caller: Caller,
    id: SessionId,
    count: number,
    options: CallOptions & { readonly grant?: readonly string[] } = {},
  ): Promise<readonly SessionRecord[]> {
    await this.#touch(caller, id);
    return await this.#sessions.forkSession(caller.tenant, id, count, { ...options, subject: caller.subject });
  }

  /** A session that sleeps is woken. Errors: `not_found`, and those of `Sessions.checkpointSession`. */
  async checkpoint(caller: Caller, id: SessionId, name: string): Promise<KeptSnapshot> {
    await this.#touch(caller, id);
    await this.#sessions.resumeSession(caller.tenant, id);
    return await this.#sessions.checkpointSession(caller.tenant, id, name);
  }

  /** Oldest first. Errors: `not_found`, `unsupported`. */
  async listCheckpoints(caller: Caller, id: SessionId): Promise<readonly KeptSnapshot[]> {
    checkScope(caller, 'sessions:read');
    const record = await this.#find(caller, id);
    // What has ended has none, also when nobody remembers it any more.
    if (isFinal(record)) return [];
    return await this.#sessions.listCheckpoints(caller.tenant, id);
  }

  /** Errors: `not_found`, and those of `Sessions.restoreCheckpoint`. */
  async restoreCheckpoint(caller: Caller, id: SessionId, name: string): Promise<SessionRecord> {
    await this.#touch(caller, id);
    return await this.#sessions.restoreCheckpoint(caller.tenant, id, name);
  }

  /** Errors: `not_found`. */
  async deleteCheckpoint(caller: Caller, id: SessionId, name: string): Promise<void> {
    await this.#touch(caller, id);
    await this.#sessions.deleteCheckpoint(caller.tenant, id, name);
  }

  /**
   * A turn that goes on whether or not anybody waits for it, and is written down when this answers; a session that sleeps is woken.
   * Errors: those of `Sessions.takeTurn`; `store_unavailable`.
   */
  async startTurn(caller: Caller, id: SessionId, request: TurnRequest): Promise<Turn> {
    await this.#touch(caller, id);
    const turn = await this.#sessions.takeTurn(caller.tenant, id, request);
    await turn.begun;
    return turn;
  }

  /** Oldest first. Errors: `not_found`, `invalid_request`. */
  async listTurns(caller: Caller, id: SessionId, page: PageRequest): Promise<Page<StoredTurn>> {
    checkScope(caller, 'sessions:read');
    await this.#find(caller, id);
    return await this.#turns.list(caller.tenant, id, page);
  }

  /** Errors: `not_found`. */
  async getTurn(caller: Caller, id: SessionId, turn: TurnId): Promise<CallerTurn> {
    checkScope(caller, 'sessions:read');
    await this.#find(caller, id);
    const live = this.#liveTurn(caller, id, turn);
    return live === undefined ? await this.#turns.get(caller.tenant, id, turn) : await turnOf(live);
  }

  /** Those after `after` that are there. Errors: `not_found`. */
  async pageOfEvents(
    caller: Caller,
    id: SessionId,
    turn: TurnId,
    { after, limit }: { readonly after: number; readonly limit: number },
  ): Promise<TurnEventPage> {
    checkScope(caller, 'sessions:read');
    await this.#find(caller, id);
    const live = this.#liveTurn(caller, id, turn);
    if (live === undefined) return await this.#turns.events(caller.tenant, id, turn, { after, limit });
    const items = live.eventsSoFar(after, limit);
    return { items, ended: live.ended && (items.at(-1)?.type === 'end' || items.length === 0) };
  }

  /**
   * Every event after `after` up to the last, those to come as well, from the turn itself or from what was kept of it. Any number of readers.
   * Errors: `not_found`.
   */
  async events(
    caller: Caller,
    id: SessionId,
    turn: TurnId,
    after: number,
    options: CallOptions = {},
  ): Promise<AsyncIterable<TurnEvent>> {
    checkScope(caller, 'sessions:read');
    await this.#find(caller, id);
    const live = this.#liveTurn(caller, id, turn);
    if (live !== undefined) return live.events(after, options);
    const first = await this.#turns.events(caller.tenant, id, turn, { after, limit: eventsAtOnce });
    return this.#keptEvents(first, (last) =>
      this.#turns.events(caller.tenant, id, turn, { after: last, limit: eventsAtOnce }),
    );
  }

  async *#keptEvents(
    first: TurnEventPage,
    next: (after: number) => Promise<TurnEventPage>,
  ): AsyncGenerator<TurnEvent, void, void> {
    for (let page = first; ;) {
      yield* page.items;
      const last = page.items.at(-1);
      if (page.ended || last === undefined) return;
      page = await next(last.seq);
    }
  }

  /** Interrupts it; one that has ended stays as it is. Errors: `not_found`. */
  async cancelTurn(caller: Caller, id: SessionId, turn: TurnId): Promise<CallerTurn> {
    checkScope(caller, 'sessions:write');
    await this.#find(caller, id);
    const live = this.#liveTurn(caller, id, turn);
    if (live === undefined) return await this.#turns.get(caller.tenant, id, turn);
    live.interrupt();
    return await turnOf(live);
  }

  /** Errors: `not_found`, and those of `Sessions.restartContext`. */
  async restartContext(
    caller: Caller,
    id: SessionId,
    language: Language,
    context: string,
    options: CallOptions = {},
  ): Promise<void> {
    await this.#touch(caller, id);
    await this.#sessions.restartContext(caller.tenant, id, language, context, options);
  }

  /** Commands, processes and files of a session, to change something there; one that sleeps is woken. Errors: `not_found`, those of `openSession`. */
  async guest(caller: Caller, id: SessionId, options: CallOptions = {}): Promise<SessionGuest> {
    await this.#touch(caller, id);
    return (await this.#sessions.openSession(caller.tenant, id, options)).guest;
  }

  /** The same to look only. */
  async guestToRead(caller: Caller, id: SessionId, options: CallOptions = {}): Promise<SessionGuest> {
    checkScope(caller, 'sessions:read');
    await this.#findHere(caller, id);
    return (await this.#sessions.openSession(caller.tenant, id, options)).guest;
  }

  /** To look at what is there only while the session is awake. Errors: `not_found`, `state_conflict`, `session_ended`. */
  async guestAwake(caller: Caller, id: SessionId): Promise<SessionGuest> {
    checkScope(caller, 'sessions:read');
    await this.#findHere(caller, id);
    return this.#sessions.guestOf(caller.tenant, id);
  }

  /** What the session was granted. Errors: `not_found`, `store_unavailable`. */
  async tools(caller: Caller, id: SessionId): Promise<readonly ToolDescription[]> {
    checkScope(caller, 'sessions:read');
    await this.#findHere(caller, id);
    return await this.#sessions.listTools(caller.tenant, id);
  }

  /** With the authority of the session, whoever the caller is: what it may is what its own code may. Errors: `not_found`, those of `Sessions.callTool`. */
  async callTool(
    caller: Caller,
    id: SessionId,
    call: SessionCall,
    options: CallOptions & AnswerOptions = {},
  ): Promise<CallAnswer> {
    await this.#touch(caller, id);
    return await this.#sessions.callTool(caller.tenant, id, call, options);
  }

  /** To change something. */
  async #touch(caller: Caller, id: SessionId): Promise<SessionRecord> {
    checkScope(caller, 'sessions:write');
    return await this.#findHere(caller, id);
  }

  /** One that this process has. Errors: `not_found`; `session_ended`; `host_unavailable` when another server has it. */
  async #findHere(caller: Caller, id: SessionId): Promise<SessionRecord> {
    const record = await this.#find(caller, id);
    const here = this.#here(caller, id);
    if (here !== undefined) return here;
    if (isFinal(record)) throw endedError(record);
    throw new BulkheadError('host_unavailable', 'Another server has this session.', {
      hint: 'Ask the server that created it, or try again in a moment.',
    });
  }

  /** As this server has it, or as it was written down. Errors: `not_found`. */
  async #find(caller: Caller, id: SessionId): Promise<SessionRecord> {
    const record = this.#here(caller, id) ?? (await this.#kept(caller, id));
    const isTheirs = record?.subject === caller.subject || caller.scopes.has('sessions:any');
    if (record !== undefined && record.tenant === caller.tenant && isTheirs) return record;
    throw new BulkheadError('not_found', `There is no session ${id}.`);
  }

  #here(caller: Caller, id: SessionId): SessionRecord | undefined {
    return foundOrNot(() => this.#sessions.getSession(caller.tenant, id));
  }

  async #kept(caller: Caller, id: SessionId): Promise<SessionRecord | undefined> {
    try {
      return await this.#stored.get(caller.tenant, id);
    } catch (error) {
      if (BulkheadError.is(error, 'not_found')) return undefined;
      throw error;
    }
  }

  /** One that runs here, or whose events are still in memory. */
  #liveTurn(caller: Caller, id: SessionId, turn: TurnId): Turn | undefined {
    return foundOrNot(() => this.#sessions.getTurn(caller.tenant, id, turn));
  }
}

function foundOrNot<T>(find: () => T): T | undefined {
  try {
    return find();
  } catch (error) {
    if (BulkheadError.is(error, 'not_found')) return undefined;
    throw error;
  }
}

/** A turn of this process as it is now; where its end is being written down, as it is then: its session may be told as `ready` already. */
export async function turnOf(turn: Turn): Promise<CallerTurn> {
  const { id, sessionId, startedAtUnixMs } = turn;
  const common = { id, session: sessionId, startedAtUnixMs };
  if (!turn.ending) return { ...common, state: 'running', endedAtUnixMs: null, result: null };
  const result = await turn.result;
  return { ...common, state: 'ended', endedAtUnixMs: turn.endedAtUnixMs, result };
}

function checkVersion({ generation }: SessionRecord, expected: number | undefined): void {
  if (expected === undefined || expected === generation) return;
  throw new BulkheadError('precondition_failed', `The session is at version ${generation}, not ${expected}.`, {
    hint: 'Read it again, then decide.',
    details: { version: generation },
  });
}
