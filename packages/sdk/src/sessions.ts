// The sessions of a tenant, as far as the caller may see them.

import {
  BulkheadError,
  type RouteBody,
  type RouteQuery,
  type Routes,
  type SessionResource,
  parseId,
} from '@bulkhead/protocol';
import type { CallOptions, CreateOptions } from './options.ts';
import { Pages } from './pages.ts';
import { type Connection, OwnedSession, Session, released } from './session.ts';

export type SessionRequest = RouteBody<Routes['createSession']>;
export type SessionFilter = Omit<RouteQuery<Routes['listSessions']>, 'cursor'>;

export class Sessions {
  readonly #connection: Connection;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /**
   * A new session with a machine of its own; `await using` terminates it at the end of its block. A session that comes after its caller
   * has given up is terminated.
   */
  async create(request: SessionRequest = {}, options: CreateOptions = {}): Promise<OwnedSession> {
    const { signal, ...call } = options;
    const { transport, background } = this.#connection;
    const creating = transport
      .call('createSession', { body: request }, { ...call, ...(signal === undefined ? {} : { lastAttempt: signal }) })
      .then((info) => new OwnedSession(this.#connection, info));
    return await released(creating, signal, background);
  }

  /** One that is there. It goes on when it is disposed of here. Errors: `not_found`. */
  async get(id: string, options: CallOptions = {}): Promise<Session> {
    const session = parseId('session', id);
    if (session === undefined) throw new BulkheadError('invalid_request', 'This is not the id of a session.');
    return new Session(
      this.#connection,
      await this.#connection.transport.call('getSession', { params: { session } }, options),
    );
  }

  /** Newest first. `open` makes of each what can be worked with. */
  list(filter: SessionFilter = {}, options: CallOptions = {}): Pages<SessionResource> {
    return new Pages((cursor) =>
      this.#connection.transport.call(
        'listSessions',
        { query: cursor === undefined ? filter : { ...filter, cursor } },
        options,
      ),
    );
  }

  /** What a list or a fork has described, to work with. */
  open(info: SessionResource): Session {
    return new Session(this.#connection, info);
  }
}
