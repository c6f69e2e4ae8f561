// The connections of clients over HTTP. Each is its opener's alone: to anybody else it does not exist. They are bounded, for each caller and in all, and end
// when nothing has been heard of them for long enough.

import { randomBytes } from 'node:crypto';
import { BulkheadError, type SessionId } from '@bulkhead/protocol';
import type { AuthInfo } from '@modelcontextprotocol/sdk/server/auth/types.js';
import { WebStandardStreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/webStandardStreamableHttp.js';
import { type Clock, systemClock } from '../../lib/clock.ts';
import { given } from '../../lib/given.ts';
import type { Caller } from '../../tenants/caller.ts';
import { type EventBudget, EventMemory } from './event-memory.ts';
import { mcpLimits } from './mcp-limits.ts';
import { McpServer, type McpServerOptions } from './mcp-server.ts';

export type McpConnectionsOptions = Pick<
  McpServerOptions,
  'version' | 'sessions' | 'onFailure' | 'without' | 'attached'
> & {
  readonly clock?: Clock;
};

export interface McpRequest {
  readonly method: string;
  readonly headers: Headers;
  readonly body: unknown;
  /** Called when the whole answer has been sent, or its reader has gone. */
  readonly onAnswered: (callback: () => void) => void;
}

/** How often connections are looked at for those that are over. */
const sweepMs = 15_000;

export class McpConnections implements AsyncDisposable {
  readonly #options: McpConnectionsOptions;
  readonly #clock: Clock;
  readonly #budget: EventBudget = { usedBytes: 0 };
  readonly #connections = new Map<string, McpConnection>();
  readonly #closing = new Set<Promise<void>>();
  #cancelSweep: () => void;
  #closed = false;

  constructor(options: McpConnectionsOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#cancelSweep = this.#clock.after(sweepMs, () => this.#sweep());
  }

  get count(): number {
    return this.#connections.size;
  }

  /** A connection for a client that introduces itself, for a session of its own or for one. Errors: `quota_exceeded`, `server_stopping`. */
  async open(caller: Caller, attached?: SessionId): Promise<McpConnection> {
    if (this.#closed) throw new BulkheadError('server_stopping', 'The server is stopping.');
    this.#makeRoom(caller);
    const connection = new McpConnection(
      { ...this.#options, ...given({ attached }) },
      caller,
      this.#clock,
      this.#budget,
      () => this.close(connection),
    );
    this.#connections.set(connection.id, connection);
    await connection.connect();
    return connection;
  }

  /** Errors: `not_found`, also for a connection of another caller. */
  find(caller: Caller, id: string): McpConnection {
    const connection = this.#connections.get(id);
    if (connection !== undefined && isSame(connection.opener, caller)) return connection;
    throw new BulkheadError('not_found', 'There is no such MCP session.', {
      hint: 'Begin a new one with `initialize`.',
    });
  }

  #makeRoom(caller: Caller): void {
    const own = [...this.#connections.values()].filter(({ opener }) => isSame(opener, caller));
    if (own.length < mcpLimits.connectionsPerCallerMaxCount && this.count < mcpLimits.connectionsMaxCount) return;
    // Clients go away without a word: the one that has been silent for longest makes room, if it has been silent for a while.
    const [silent] = own
      .filter(({ idleMs }) => idleMs >= mcpLimits.connectionYieldMs)
      .toSorted((one, other) => other.idleMs - one.idleMs);
    if (silent === undefined) {
      throw new BulkheadError('quota_exceeded', 'There are too many MCP sessions.', {
        hint: 'End those that are not needed with DELETE, or try again in a minute.',
        details: {
          quota: 'mcpSessions',
          maximum: mcpLimits.connectionsPerCallerMaxCount,
          retryAfterMs: mcpLimits.connectionYieldMs,
        },
      });
    }
    this.close(silent);
  }

  #sweep(): void {
    for (const connection of this.#connections.values()) {
      connection.events.forgetOld();
      if (connection.idleMs >= mcpLimits.connectionIdleMs) this.close(connection);
    }
    this.#cancelSweep = this.#clock.after(sweepMs, () => this.#sweep());
  }

  /** It is gone at once; what it had is being ended. */
  close(connection: McpConnection): void {
    if (!this.#connections.delete(connection.id)) return;
    const closing = connection[Symbol.asyncDispose]()
      .catch((error: unknown) => this.#options.onFailure?.(error))
      .finally(() => this.#closing.delete(closing));
    this.#closing.add(closing);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    this.#cancelSweep();
    for (const connection of this.#connections.values()) this.close(connection);
    await Promise.all(this.#closing);
  }
}

/** A key that was rotated is the same key; another key of the same subject may have other scopes, and is another caller. */
function isSame(one: Caller, other: Caller): boolean {
  return one.tenant === other.tenant && one.subject === other.subject && one.key === other.key;
}

/** A stream says something at once: until then its client does not even see that it is open. Whoever goes away is known to have gone at once, too. */
function begun(response: Response): Response {
  const { body, status, headers } = response;
  if (body === null || headers.get('content-type') !== 'text/event-stream') return response;
  const reader = body.getReader();
  const stream = new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(Buffer.from(': open\n\n')),
    pull: async (controller) => {
      const { done, value } = await reader.read();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    cancel: async (reason) => await reader.cancel(reason),
  });
  return new Response(stream, { status, headers });
}

export class McpConnection implements AsyncDisposable {
  /** Nobody can guess it; and it gives nobody anything without the opener's credential. */
  readonly id: string = randomBytes(24).toString('base64url');
  readonly opener: Caller;
  readonly events: EventMemory;
  readonly #clock: Clock;
  readonly #server: McpServer;
  readonly #transport: WebStandardStreamableHTTPServerTransport;
  readonly #callers = new WeakMap<AuthInfo, Caller>();
  #responses = 0;
  #heardAtMs: number;
  #disposed: Promise<void> | undefined;

  constructor(options: McpConnectionsOptions, opener: Caller, clock: Clock, budget: EventBudget, onClose: () => void) {
    this.opener = opener;
    this.#clock = clock;
    this.#heardAtMs = clock.nowMs();
    this.events = new EventMemory(clock, budget);
    this.#transport = new WebStandardStreamableHTTPServerTransport({
      sessionIdGenerator: () => this.id,
      eventStore: this.events,
      retryInterval: 1000,
      maxRequestBodySize: mcpLimits.messageMaxBytes,
      onsessionclosed: onClose,
    });
    this.#server = new McpServer({
      ...options,
      clock,
      opener,
      // Every request of this transport is given one; without it there is no caller to speak of.
      callerOf: ({ authInfo }) => {
        const caller = authInfo === undefined ? undefined : this.#callers.get(authInfo);
        if (caller === undefined) throw new BulkheadError('unauthenticated', 'The request has no caller.');
        return caller;
      },
    });
  }

  /** Since anything was heard of it; 0 while a request or a call is under way. */
  get idleMs(): number {
    return this.#responses > 0 || this.#server.calls > 0 ? 0 : this.#clock.nowMs() - this.#heardAtMs;
  }

  /** Whether the client has introduced itself. */
  get isOpen(): boolean {
    return this.#transport.sessionId !== undefined;
  }

  async connect(): Promise<void> {
    await this.#server.server.connect(this.#transport);
  }

  /** Errors: `limit_exceeded`. */
  async answer(caller: Caller, { method, headers, body, onAnswered }: McpRequest): Promise<Response> {
    if (this.#responses >= mcpLimits.responsesMaxCount) {
      throw new BulkheadError('rate_limited', `${mcpLimits.responsesMaxCount} requests of this MCP session are open.`, {
        hint: 'Read their answers, or close them.',
        details: { retryAfterMs: 1000 },
      });
    }
    const last = headers.get('last-event-id');
    if (method === 'GET' && last !== null && !this.events.has(last)) {
      throw new BulkheadError('invalid_request', 'What followed this event is not kept any more.', {
        hint: 'Open the stream without Last-Event-ID, and make the call again if it was lost.',
      });
    }
    this.#responses += 1;
    onAnswered(() => {
      this.#responses -= 1;
      this.#heardAtMs = this.#clock.nowMs();
    });
    const authInfo: AuthInfo = { token: '', clientId: caller.subject, scopes: [...caller.scopes] };
    this.#callers.set(authInfo, caller);
    const request = new Request('http://bulkhead.internal/mcp', { method, headers });
    const response = await this.#transport.handleRequest(request, {
      authInfo,
      ...(body === undefined ? {} : { parsedBody: body }),
    });
    return begun(response);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#disposed ??= (async (): Promise<void> => {
      await this.#server[Symbol.asyncDispose]();
      this.events[Symbol.dispose]();
    })();
    return this.#disposed;
  }
}
