// The session that a connection has without naming one. Either it was named when the connection was opened, and stays when that ends; or it is made with the first call that needs it, by whoever opened the connection, and ended with the
// connection. When it has ended before, the next call gets a new one and is told so.

import { BulkheadError, type SessionId } from '@bulkhead/protocol';
import { given } from '../../lib/given.ts';
import { isFinal } from '../../sessions/session-record.ts';
import type { Caller } from '../../tenants/caller.ts';
import type { McpCall, McpSessions } from './mcp-sessions.ts';

export interface FoundSession {
  readonly id: SessionId;
  /** What the model has to know of it. */
  readonly note?: string;
}

export const ownSessionLabels = { 'bulkhead/mcp': 'connection' } as const;

export class OwnSession {
  readonly #sessions: McpSessions;
  readonly #caller: Caller;
  readonly #closed = new AbortController();
  /** The one that the connection was opened for. */
  readonly attached: SessionId | undefined;
  #current: Promise<FoundSession> | undefined;

  constructor(sessions: McpSessions, caller: Caller, attached?: SessionId) {
    this.#sessions = sessions;
    this.#caller = caller;
    this.attached = attached;
  }

  /** Errors: those of creating a session. */
  find(onProgress: McpCall['onProgress']): Promise<FoundSession> {
    if (this.attached !== undefined) return Promise.resolve({ id: this.attached });
    const before = this.#current;
    const found = this.#find(before, onProgress);
    this.#current = found;
    // The next call tries again.
    found.catch(() => {
      if (this.#current === found) this.#current = undefined;
    });
    return found;
  }

  async #find(before: Promise<FoundSession> | undefined, onProgress: McpCall['onProgress']): Promise<FoundSession> {
    const last = await before?.catch(() => undefined);
    if (last !== undefined && !(await this.#hasEnded(last.id))) return { id: last.id };
    // The first caller may give up: the session is the connection's all the same.
    const call: McpCall = given({ signal: this.#closed.signal, onProgress });
    const { id } = await this.#sessions.create(this.#caller, { labels: ownSessionLabels }, call);
    return {
      id,
      note:
        last === undefined
          ? `This is a new session. It is this connection's own and ends with it.`
          : `The session of this connection had ended (${last.id}). This is a new one: variables and files of before are gone.`,
    };
  }

  async #hasEnded(id: SessionId): Promise<boolean> {
    try {
      return isFinal(await this.#sessions.get(this.#caller, id));
    } catch (error) {
      if (BulkheadError.is(error, 'not_found')) return true;
      throw error;
    }
  }

  /** Ends it; never rejects: what cannot be ended now ends when it has been idle for long enough. */
  async close(): Promise<void> {
    this.#closed.abort(new BulkheadError('cancelled', 'The connection was closed.'));
    const current = await this.#current?.catch(() => undefined);
    if (current !== undefined) await this.#sessions.terminate(this.#caller, current.id).catch(() => undefined);
  }
}
