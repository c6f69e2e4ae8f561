// What the tests of MCP share: the HTTP server on loopback over the fake runtime, callers with keys, and the official client.

import assert from 'node:assert/strict';
import { BulkheadError, type KeyId, type Scope, type TenantId, makeId, roles } from '@bulkhead/protocol';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import type { CallToolResult } from '@modelcontextprotocol/sdk/types.js';
import type { FastifyInstance } from 'fastify';
import { Connections } from '../../src/api/connections.ts';
import type { McpConnections } from '../../src/api/mcp/mcp-connections.ts';
import { type McpOptions, registerMcp } from '../../src/api/mcp/register-mcp.ts';
import { createServer } from '../../src/api/rest/create-server.ts';
import type { Service } from '../../src/api/service.ts';
import { unkeptSessions } from '../../src/api/unkept-sessions.ts';
import { FakeRuntime } from '../../src/runtimes/fake/fake-runtime.ts';
import type { SessionTools } from '../../src/sessions/session-tools.ts';
import { Sessions } from '../../src/sessions/sessions.ts';
import type { Caller } from '../../src/tenants/caller.ts';
import type { Access } from '../../src/tenants/tenancy.ts';
import { MemoryKeeper } from '../sessions/memory-keeper.ts';

export interface McpHarness extends AsyncDisposable {
  readonly app: FastifyInstance;
  readonly url: URL;
  readonly runtime: FakeRuntime;
  readonly sessions: Sessions;
  readonly connections: McpConnections;
  /** A key for a caller; of a new tenant unless one is given. */
  issueKey(caller?: CallerOptions): string;
  /** A client that has introduced itself. */
  connect(key: string, session?: string): Promise<Client>;
  /** Requests that were counted against the rate of each subject. */
  readonly spent: Map<string, number>;
}

export interface CallerOptions {
  readonly tenant?: TenantId;
  readonly subject?: string;
  readonly scopes?: readonly Scope[];
}

export async function openMcp(options: McpOptions & { readonly tools?: SessionTools } = {}): Promise<McpHarness> {
  await using opening = new AsyncDisposableStack();
  const runtime = opening.use(new FakeRuntime());
  const sessions = opening.use(
    new Sessions({
      runtimes: [runtime],
      keeper: new MemoryKeeper(),
      ...(options.tools === undefined ? {} : { tools: options.tools }),
    }),
  );
  const callers = new Map<string, Caller>();
  const spent = new Map<string, number>();
  const access: Access = {
    authenticate: async (authorization) => {
      const caller = callers.get(authorization?.replace(/^Bearer /, '') ?? '');
      if (caller === undefined) throw new BulkheadError('unauthenticated', 'The caller is not known.');
      return caller;
    },
    spend: async ({ subject }) => void spent.set(subject, (spent.get(subject) ?? 0) + 1),
  };
  const stopping = new AbortController();
  const service: Service = {
    ...notNeeded(),
    version: '0.0.0-test',
    sessions: unkeptSessions(sessions),
    access,
    connections: new Connections(),
    readiness: () => ({ status: 'ready', reasons: [] }),
    stopping: stopping.signal,
  };
  let connections: McpConnections | undefined;
  const app = await createServer(service, {
    mounts: [
      (mounted) => {
        connections = registerMcp(mounted, service, options);
      },
    ],
  });
  const url = new URL('/mcp', await app.listen({ host: '127.0.0.1', port: 0 }));
  opening.defer(() => app.close());
  const clients = opening.adopt(new Set<Client>(), async (open) => {
    await Promise.all([...open].map((client) => client.close()));
  });
  assert.ok(connections);
  const harness = { app, url, runtime, sessions, connections, spent };
  const opened = opening.move();
  return {
    ...harness,
    issueKey: ({ tenant = makeId('tenant'), subject = 'ada', scopes = roles.developer } = {}) => {
      const key: KeyId = makeId('key');
      callers.set(key, { tenant, subject, scopes: new Set(scopes), key });
      return key;
    },
    connect: async (key, session) => {
      const client = new Client({ name: 'test', version: '1' });
      clients.add(client);
      await client.connect(clientTransport(session === undefined ? url : new URL(`?session=${session}`, url), key));
      return client;
    },
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}

export function clientTransport(url: URL, key: string): Parameters<Client['connect']>[0] {
  return new StreamableHTTPClientTransport(url, {
    requestInit: { headers: { authorization: `Bearer ${key}` } },
  });
}

/** Nothing of MCP asks for these. */
function notNeeded(): Pick<
  Service,
  | 'tenants'
  | 'keys'
  | 'idempotency'
  | 'runtimes'
  | 'templates'
  | 'ports'
  | 'attachments'
  | 'authority'
  | 'decisions'
  | 'approvals'
> {
  const never = (): never => {
    throw new Error('not needed');
  };
  return new Proxy({} as ReturnType<typeof notNeeded>, { get: () => never, ownKeys: () => [] });
}

export async function call(client: Client, name: string, args: Record<string, unknown> = {}): Promise<CallToolResult> {
  return (await client.callTool({ name, arguments: args })) as CallToolResult;
}

/** Every text of an answer. */
export function textOf({ content }: Pick<CallToolResult, 'content'>): string {
  return content.map((each) => (each.type === 'text' ? each.text : `[${each.type}]`)).join('\n');
}

/** A member of the structured content. */
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- a test says what it expects
export function told<T = string>({ structuredContent }: CallToolResult, name: string): T {
  assert.ok(
    structuredContent !== undefined && name in structuredContent,
    `${name} in ${JSON.stringify(structuredContent)}`,
  );
  return structuredContent[name] as T;
}

export async function eventually(
  what: string,
  condition: () => boolean | Promise<boolean>,
  timeoutMs = 10_000,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > deadline) assert.fail(`not within ${timeoutMs} ms: ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}
