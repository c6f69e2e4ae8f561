// The use cases around sessions: what the command line calls in-process and what an HTTP API translates to. Every call names
// its tenant; another tenant's session does not exist.
//
// A session runs one turn at a time. Contexts keep variables apart; they are not a way to run turns side by side. Commands,
// background processes and files may be used during a turn.
//
// "Is my session still usable?" is answered by the `context` of every outcome: `kept` (go on), `lost` (go on; variables are
// gone, files are not), `gone` (the session has ended).

import {
  BulkheadError,
  type Language,
  type SessionId,
  type SizeName,
  type TenantId,
  type TurnId,
  type TurnRequest,
  defaultSize,
  makeId,
  sizeNames,
} from '@bulkhead/protocol';
import type { CallOptions } from '../guest/guest.ts';
import { type Clock, systemClock } from '../lib/clock.ts';
import type { Runtime } from '../runtimes/runtime.ts';
import { type SessionRecord, isFinal } from './session-record.ts';
import { Session, type SessionGuest } from './session.ts';
import type { Turn } from './turn.ts';

export interface CreateSessionRequest {
  readonly tenant: TenantId;
  readonly size?: SizeName;
}

export interface CreateSessionOptions extends CallOptions {
  /** Told while something long is made first: the image, a template. */
  readonly onProgress?: (message: string) => void;
}

export interface SessionsOptions {
  readonly runtime: Runtime;
  readonly clock?: Clock;
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

/** Records of ended sessions that are still answered for. */
const endedKeptMaxCount = 1000;

export class Sessions implements AsyncDisposable {
  readonly #runtime: Runtime;
  readonly #clock: Clock;
  readonly #onTransition: (before: SessionRecord | undefined, after: SessionRecord) => void;
  readonly #sessions = new Map<SessionId, Session>();
  #closing: Promise<void> | undefined;

  constructor(options: SessionsOptions) {
    this.#runtime = options.runtime;
    this.#clock = options.clock ?? systemClock;
    this.#onTransition = options.onTransition ?? ((): void => undefined);
  }

  /**
   * A session with its machine running. Cancelled or failed, it leaves no machine behind.
   * Errors: `invalid_request`, `session_ended` when it was terminated meanwhile, `cancelled`, and those of `Runtime.prepare` and `launch`.
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
    const { tenant, size = defaultSize } = request;
    if (!sizeNames.includes(size)) {
      throw new BulkheadError('invalid_request', `There is no size ${JSON.stringify(size)}.`, {
        hint: `Sizes: ${sizeNames.join(', ')}.`,
        details: { field: 'size', expected: sizeNames },
      });
    }
    if (this.#closing !== undefined) throw new BulkheadError('state_conflict', 'Bulkhead is closing.');
    const { runtime, tier } = this.#runtime.capabilities;
    const record: SessionRecord = {
      id: makeId('session'),
      tenant,
      size,
      runtime,
      tier,
      state: 'creating',
      generation: 1,
      createdAtUnixMs: this.#clock.unixMs(),
      endedAtUnixMs: null,
      machine: null,
      bootId: null,
      launch: null,
      turn: null,
      turnCount: 0,
      error: null,
    };
    const session = new Session({
      runtime: this.#runtime,
      clock: this.#clock,
      record,
      onTransition: (before, after) => {
        if (isFinal(after)) this.#forgetOldSessions();
        this.#onTransition(before, after);
      },
    });
    this.#sessions.set(record.id, session);
    this.#onTransition(undefined, record);
    const ready = session.launch(options).then(() => session.record);
    ready.catch(() => undefined);
    return { id: record.id, ready };
  }

  /** Errors: `not_found`. */
  getSession(tenant: TenantId, id: SessionId): SessionRecord {
    return this.#find(tenant, id).record;
  }

  /** The tenant's sessions, newest last, ended ones as long as they are kept. */
  listSessions(tenant: TenantId): readonly SessionRecord[] {
    return [...this.#sessions.values()].map((session) => session.record).filter((record) => record.tenant === tenant);
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

  /** Ends a session in any state; idempotent. Returns when nothing of its machine is left. Errors: `not_found`. */
  async terminateSession(tenant: TenantId, id: SessionId): Promise<SessionRecord> {
    return await this.#find(tenant, id).terminate();
  }

  /** Terminates every session and takes no more; idempotent. */
  close(): Promise<void> {
    this.#closing ??= (async (): Promise<void> => {
      await Promise.all([...this.#sessions.values()].map((session) => session.terminate()));
    })();
    return this.#closing;
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
