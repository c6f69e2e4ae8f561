// A session as a client works with it.

import {
  type ApprovalResource,
  type ApprovalState,
  type Labels,
  type Language,
  type RouteAnswer,
  type RouteBody,
  type Routes,
  type SessionId,
  type SessionResource,
  type SessionState,
  type TurnId,
  type TurnResource,
  BulkheadError,
  parseId,
} from '@bulkhead/protocol';
import { throwIfAborted, untilAborted } from './abort.ts';
import type { Background } from './background.ts';
import { Checkpoints } from './checkpoints.ts';
import { Commands } from './commands.ts';
import { Files } from './files.ts';
import type { CallOptions, CreateOptions } from './options.ts';
import { Pages } from './pages.ts';
import { Ports } from './ports.ts';
import type { RunResult } from './run-result.ts';
import { type Terminal, type TerminalRequest, openTerminal } from './terminal.ts';
import type { Transport } from './transport.ts';
import { TurnStream } from './turn-stream.ts';

export type RunOptions = Omit<RouteBody<Routes['startTurn']>, 'code' | 'wait'> & CreateOptions;
export type ContextState = RouteAnswer<Routes['listContexts']>['items'][number];

/** What the objects of one client share. */
export interface Connection {
  readonly transport: Transport;
  readonly background: Background;
}

export class Session {
  readonly id: SessionId;
  readonly files: Files;
  readonly commands: Commands;
  readonly ports: Ports;
  readonly checkpoints: Checkpoints;
  readonly #connection: Connection;
  #info: SessionResource;

  constructor(connection: Connection, info: SessionResource) {
    const { transport } = connection;
    this.#connection = connection;
    this.#info = info;
    this.id = info.id;
    this.files = new Files(transport, info.id);
    this.commands = new Commands(transport, info.id);
    this.ports = new Ports(transport, info.id);
    this.checkpoints = new Checkpoints(transport, info.id, (changed) => this.#learn(changed));
  }

  /** As the server last described it here; `refresh` asks again. */
  get info(): SessionResource {
    return this.#info;
  }

  get state(): SessionState {
    return this.#info.state;
  }

  /** Runs code to its end; a session that sleeps is woken. What the code did wrong is in the result; `check` makes an error of it. An aborted call stops the code. */
  async run(code: string, options: RunOptions = {}): Promise<RunResult> {
    return await this.stream(code, options).result();
  }

  /** Runs code, and tells of it while it runs. An aborted call stops the code. */
  stream(code: string, options: RunOptions = {}): TurnStream {
    const turn = this.#start(code, options).then(({ id }) => id);
    return this.#follow(turn, 0, options.signal);
  }

  async #start(code: string, { signal, idempotencyKey, ...request }: RunOptions): Promise<TurnResource> {
    throwIfAborted(signal);
    return await this.#connection.transport.call(
      'startTurn',
      { params: { session: this.id }, body: { ...request, code, wait: 'none' } },
      {
        ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
        // The turn may have begun: it is waited for, to be cancelled.
        ...(signal === undefined ? {} : { lastAttempt: signal }),
      },
    );
  }

  /** The events of a turn that was started elsewhere, or before: from the first, or after `after`. An aborted call stops the code; leaving the loop does not. */
  follow(turn: string, options: CallOptions & { readonly after?: number } = {}): TurnStream {
    const id = parseId('turn', turn);
    if (id === undefined) throw new BulkheadError('invalid_request', 'This is not the id of a turn.');
    return this.#follow(Promise.resolve(id), options.after ?? 0, options.signal);
  }

  #follow(turn: Promise<TurnId>, after: number, signal: AbortSignal | undefined): TurnStream {
    const source = { ...this.#connection, sessionId: this.id, turn, after };
    return new TurnStream(signal === undefined ? source : { ...source, signal });
  }

  /** Its calls of tools that wait for a person, or did, newest first: why a turn does not go on. */
  approvals(
    options: CallOptions & { readonly state?: ApprovalState; readonly limit?: number } = {},
  ): Pages<ApprovalResource> {
    const { state, limit, ...call } = options;
    const filter = { ...(state === undefined ? {} : { state }), ...(limit === undefined ? {} : { limit }) };
    return new Pages((cursor) => {
      const query = { ...filter, ...(cursor === undefined ? {} : { cursor }) };
      return this.#connection.transport.call('listSessionApprovals', { params: { session: this.id }, query }, call);
    });
  }

  /** Its turns, oldest first, without their results. */
  turns(options: CallOptions & { readonly limit?: number } = {}): Pages<TurnResource> {
    const { limit, ...call } = options;
    return new Pages((cursor) =>
      this.#connection.transport.call(
        'listTurns',
        {
          params: { session: this.id },
          query: { ...(limit === undefined ? {} : { limit }), ...(cursor === undefined ? {} : { cursor }) },
        },
        call,
      ),
    );
  }

  async turn(turn: string, options: CallOptions = {}): Promise<TurnResource> {
    return await this.#connection.transport.call('getTurn', { params: { session: this.id, turn } }, options);
  }

  /** Its interpreters, when it is awake. */
  async contexts(options: CallOptions = {}): Promise<readonly ContextState[]> {
    const params = { session: this.id };
    return (await this.#connection.transport.call('listContexts', { params }, options)).items;
  }

  /** Ends an interpreter; the next turn starts a new one. Files are kept. */
  async restartContext(language: Language, options: CallOptions & { readonly context?: string } = {}): Promise<void> {
    const { context, ...call } = options;
    const body = { language, ...(context === undefined ? {} : { context }) };
    await this.#connection.transport.call('restartContext', { params: { session: this.id }, body }, call);
  }

  /** A terminal in it, with a login shell, or with `command`. */
  async terminal(request: TerminalRequest & CallOptions = {}): Promise<Terminal> {
    return await openTerminal(this.#connection.transport, this.id, request);
  }

  async refresh(options: CallOptions = {}): Promise<SessionResource> {
    const params = { session: this.id };
    return this.#learn(await this.#connection.transport.call('getSession', { params }, options));
  }

  /** Puts it to sleep: it takes neither memory nor processor time. The next turn wakes it. */
  async suspend(options: CallOptions = {}): Promise<SessionResource> {
    const params = { session: this.id };
    return this.#learn(await this.#connection.transport.call('suspendSession', { params }, options));
  }

  async resume(options: CallOptions = {}): Promise<SessionResource> {
    const params = { session: this.id };
    return this.#learn(await this.#connection.transport.call('resumeSession', { params }, options));
  }

  /** New sessions that begin as copies of it: all of them, or none. Each is terminated when it is disposed. */
  async fork(
    options: CreateOptions & { readonly count?: number; readonly grant?: readonly string[] } = {},
  ): Promise<readonly OwnedSession[]> {
    const { count, grant, signal, ...call } = options;
    throwIfAborted(signal);
    const body = { ...(count === undefined ? {} : { count }), ...(grant === undefined ? {} : { grant: [...grant] }) };
    const forking = this.#connection.transport
      .call(
        'forkSession',
        { params: { session: this.id }, body },
        { ...call, ...(signal === undefined ? {} : { lastAttempt: signal }) },
      )
      .then(({ sessions }) => sessions.map((info) => new OwnedSession(this.#connection, info)));
    return await released(forking, signal, this.#connection.background);
  }

  /** Replaces its labels. With `ifUnchanged`, only when nobody else has changed it since `info` was read. Errors: `precondition_failed`. */
  async setLabels(
    labels: Labels,
    options: CallOptions & { readonly ifUnchanged?: boolean } = {},
  ): Promise<SessionResource> {
    const { ifUnchanged = false, ...call } = options;
    const headers = ifUnchanged ? { 'if-match': `"${this.#info.version}"` } : {};
    const params = { session: this.id };
    return this.#learn(
      await this.#connection.transport.call('updateSession', { params, body: { labels } }, { ...call, headers }),
    );
  }

  /** Ends it, in any state; idempotent. Resolves when nothing of its machine is left. */
  async terminate(options: CallOptions = {}): Promise<SessionResource> {
    const params = { session: this.id };
    return this.#learn(await this.#connection.transport.call('terminateSession', { params }, options));
  }

  #learn(info: SessionResource): SessionResource {
    // Answers may pass each other on the way.
    if (info.version >= this.#info.version) this.#info = info;
    return info;
  }
}

/** A session that was made here: `await using` terminates it at the end of its block. */
export class OwnedSession extends Session implements AsyncDisposable {
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.terminate();
    } catch (error) {
      // Already gone is gone.
      if (!BulkheadError.is(error, 'not_found')) throw error;
    }
  }
}

/** Sessions that come after their caller has given up are ended, not leaked. Errors: `cancelled`. */
export async function released<Made extends OwnedSession | readonly OwnedSession[]>(
  making: Promise<Made>,
  signal: AbortSignal | undefined,
  background: Background,
): Promise<Made> {
  try {
    return await untilAborted(making, signal);
  } catch (error) {
    if (signal?.aborted === true) {
      background.run(making.then((made) => Promise.all([made].flat().map((session) => session.terminate()))));
    }
    throw error;
  }
}
