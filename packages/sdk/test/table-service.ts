// What the tests of the client ask for behind the route table: sessions that are records, turns whose events are given, files in a map.

import {
  BulkheadError,
  type SessionResource,
  type TurnEvent,
  type TurnOutcome,
  type TurnResource,
  TurnFold,
  defaultTimeLimits,
  makeId,
} from '@bulkhead/protocol';
import { type Handlers, type TableCall, answered } from './table-server.ts';

export const outcome: TurnOutcome = {
  status: 'ok',
  error: null,
  exception: null,
  context: 'kept',
  guestMs: 1,
  turnMs: 2,
};

export function sessionResource(change: Partial<SessionResource> = {}): SessionResource {
  const now = new Date().toISOString();
  return {
    id: makeId('session'),
    tenant: makeId('tenant'),
    subject: 'tester',
    labels: {},
    grant: [],
    state: 'ready',
    version: 1,
    size: 'small',
    runtime: 'fake',
    tier: 'none',
    minimumTier: 'none',
    createdAt: now,
    activeAt: now,
    endedAt: null,
    turn: null,
    turnCount: 0,
    parent: null,
    epoch: 1,
    timeLimits: defaultTimeLimits,
    launchMs: 1.5,
    error: null,
    ...change,
  };
}

export interface ServiceOptions {
  /** The events of the turn that runs this code, from what is printed; the end comes by itself. */
  readonly script?: (code: string) => readonly TurnEvent[];
  /** How a connection to events ends: undefined lets it go to the turn's end. Given the text that would be sent, how many characters are. */
  readonly cutAfter?: (text: string) => number | undefined;
}

export class TableService {
  readonly sessions = new Map<string, SessionResource>();
  readonly turns = new Map<string, { readonly resource: TurnResource; readonly events: readonly TurnEvent[] }>();
  readonly files = new Map<string, Buffer>();
  readonly ran: string[] = [];
  readonly cancelled: string[] = [];
  readonly #options: ServiceOptions;

  constructor(options: ServiceOptions = {}) {
    this.#options = options;
  }

  get handlers(): Handlers {
    return {
      createSession: ({ body }) => this.#keep(sessionResource({ labels: (body as SessionResource).labels })),
      getSession: (call) => this.#session(call),
      updateSession: (call) => this.#change(call, { labels: (call.body as SessionResource).labels }),
      suspendSession: (call) => this.#change(call, { state: 'suspended' }),
      resumeSession: (call) => this.#change(call, { state: 'ready' }),
      terminateSession: (call) => this.#change(call, { state: 'terminated', endedAt: new Date().toISOString() }),
      forkSession: (call) => {
        const { count } = call.body as { readonly count: number };
        const parent = this.#session(call).id;
        return { sessions: Array.from({ length: count }, () => this.#keep(sessionResource({ parent }))) };
      },
      listSessions: ({ query }) => {
        const all = [...this.sessions.values()];
        const { limit, cursor } = query as { readonly limit: number; readonly cursor?: string };
        const start = Number(cursor ?? 0);
        const items = all.slice(start, start + limit);
        return { items, nextCursor: start + limit < all.length ? String(start + limit) : null };
      },
      startTurn: (call) => this.#startTurn(call),
      getTurn: ({ params }) => this.#turn(params).resource,
      cancelTurn: ({ params }) => {
        this.cancelled.push(params['turn'] ?? '');
        return this.#turn(params).resource;
      },
      listTurnEvents: (call) => this.#sendEvents(call),
      readFile: ({ query }) => this.#file(query),
      writeFile: ({ query, bytes }) => {
        this.files.set(String(query['path']), bytes);
        return { path: String(query['path']), sizeBytes: bytes.length };
      },
    };
  }

  #keep(resource: SessionResource): SessionResource {
    this.sessions.set(resource.id, resource);
    return resource;
  }

  #session({ params }: TableCall): SessionResource {
    const found = this.sessions.get(params['session'] ?? '');
    if (found === undefined) throw new BulkheadError('not_found', 'There is no such session.');
    return found;
  }

  #change(call: TableCall, change: Partial<SessionResource>): SessionResource {
    const before = this.#session(call);
    const expected = call.headers['if-match'];
    if (expected !== undefined && expected !== `"${before.version}"`) {
      throw new BulkheadError('precondition_failed', 'The session has changed.');
    }
    return this.#keep({ ...before, ...change, version: before.version + 1 });
  }

  #file(query: TableCall['query']): Buffer {
    const found = this.files.get(String(query['path']));
    if (found === undefined) throw new BulkheadError('file_error', 'There is no such file.');
    return found;
  }

  #startTurn(call: TableCall): TurnResource {
    const { id: session } = this.#session(call);
    const { code } = call.body as { readonly code: string };
    this.ran.push(code);
    const printed = this.#options.script?.(code) ?? [];
    const events: readonly TurnEvent[] = [...printed, { seq: printed.length + 1, type: 'end', outcome }];
    const id = makeId('turn');
    const fold = new TurnFold(session, id);
    for (const event of events) fold.add(event);
    const now = new Date().toISOString();
    const running: TurnResource = { id, session, state: 'running', startedAt: now, endedAt: null, result: null };
    this.turns.set(id, { events, resource: { ...running, state: 'ended', endedAt: now, result: fold.result() } });
    return running;
  }

  #turn(params: TableCall['params']): { readonly resource: TurnResource; readonly events: readonly TurnEvent[] } {
    const found = this.turns.get(params['turn'] ?? '');
    if (found === undefined) throw new BulkheadError('not_found', 'There is no such turn.');
    return found;
  }

  #sendEvents({ params, headers, response }: TableCall): typeof answered {
    const after = Number(headers['last-event-id'] ?? 0);
    const { events } = this.#turn(params);
    const text = events
      .slice(after)
      .map((event) => `id: ${event.seq}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`)
      .join(': alive\n\n');
    const bytes = Buffer.from(text);
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    const cut = this.#options.cutAfter?.(text);
    if (cut === undefined) response.end(bytes);
    else {
      // In the middle of a character, if it comes to that.
      response.flushHeaders();
      response.write(bytes.subarray(0, cut));
      setImmediate(() => response.destroy());
    }
    return answered;
  }
}
