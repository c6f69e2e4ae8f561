// MCP over streamable HTTP at `/mcp`. Every request is the caller's whose key or token it has; a connection belongs to who opened it.

import { BulkheadError, type SessionId, idSchema, limits } from '@bulkhead/protocol';
import { isInitializeRequest } from '@modelcontextprotocol/sdk/types.js';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { given } from '../../lib/given.ts';
import { parseStrictJson } from '../../lib/strict-json.ts';
import type { Caller } from '../../tenants/caller.ts';
import type { Access } from '../../tenants/tenancy.ts';
import type { Admitted } from '../rest/admission.ts';
import type { Mount } from '../rest/create-server.ts';
import { limitBodyTime } from '../rest/mount-route.ts';
import type { Service } from '../service.ts';
import { type HostRules, checkHost } from './host-guard.ts';
import { McpConnections, type McpConnectionsOptions, type McpRequest } from './mcp-connections.ts';
import { mcpLimits } from './mcp-limits.ts';

export type McpService = Pick<Service, 'version' | 'sessions' | 'access' | 'connections' | 'stopping'>;

export interface McpOptions extends HostRules, Pick<McpConnectionsOptions, 'clock' | 'without'> {}

const path = '/mcp';
const sessionHeader = 'mcp-session-id';

/** What the routes of the table have and this one has not. */
const nothingElse: Omit<Admitted, 'caller'> = {
  params: undefined,
  query: undefined,
  expectedVersion: undefined,
  lastEventId: undefined,
  idempotencyKey: undefined,
};

/** As the server of the route table takes it. */
export function mountMcp(options: McpOptions = {}): Mount {
  return (app, { service }) => void registerMcp(app, service, options);
}

/** The connections; they are closed with `app`, and when the server stops. */
export function registerMcp(app: FastifyInstance, service: McpService, options: McpOptions = {}): McpConnections {
  const { access, stopping, version, sessions } = service;
  const connections = new McpConnections({
    version,
    sessions,
    ...given({ clock: options.clock, without: options.without }),
    onFailure: (error) => app.log.error({ err: error }, 'an MCP call failed'),
  });
  const close = (): Promise<void> => connections[Symbol.asyncDispose]();
  stopping.addEventListener('abort', () => void close(), { once: true });
  app.addHook('preClose', close);
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, async (_request: unknown, body: Buffer) =>
    // Some clients give the type of a body that they do not send.
    body.length === 0
      ? undefined
      : parseStrictJson(body, { depthMaxCount: limits.jsonDepthMaxCount, valuesMaxCount: limits.jsonValuesMaxCount }),
  );
  app.addHook('onRequest', async (request, reply) => {
    const { host, origin, authorization } = request.headers;
    checkHost({ host, origin }, options);
    const caller = await access.authenticate(authorization);
    await access.spend(caller);
    request.admitted = { ...nothingElse, caller };
    if (request.method === 'POST') limitBodyTime(request, reply);
  });
  app.route({
    method: ['GET', 'POST', 'DELETE'],
    url: path,
    bodyLimit: mcpLimits.messageMaxBytes,
    handler: async (request, reply) => {
      const caller = request.admitted?.caller ?? null;
      if (caller === null) throw new BulkheadError('unauthenticated', 'The request has no caller.');
      // Its answer may be open for long, like every other stream of the tenant.
      const stream = service.connections.open(caller.tenant);
      if (reply.raw.closed) stream[Symbol.dispose]();
      else reply.raw.once('close', () => stream[Symbol.dispose]());
      await spendBatch(access, caller, request.body);
      return await answer(service, connections, caller, request, reply);
    },
  });
  return connections;
}

/** A batch is as many requests as it has messages. Errors: `limit_exceeded`, `rate_limited`. */
async function spendBatch(access: Access, caller: Caller, body: unknown): Promise<void> {
  if (!Array.isArray(body)) return;
  if (body.length > mcpLimits.batchMaxCount) {
    throw new BulkheadError('limit_exceeded', `A batch has at most ${mcpLimits.batchMaxCount} messages.`, {
      hint: 'Send them one by one.',
      details: { limit: 'batchMaxCount', maximum: mcpLimits.batchMaxCount },
    });
  }
  for (let message = 1; message < body.length; message += 1) await access.spend(caller);
}

async function answer(
  service: McpService,
  connections: McpConnections,
  caller: Caller,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const { method, body } = request;
  const id = request.headers[sessionHeader];
  const mcpRequest: McpRequest = {
    method,
    headers: toHeaders(request),
    body: method === 'POST' ? (body ?? null) : undefined,
    onAnswered: (callback) => (reply.raw.closed ? callback() : void reply.raw.once('close', callback)),
  };
  if (typeof id === 'string') return reply.send(await connections.find(caller, id).answer(caller, mcpRequest));
  if (method !== 'POST' || !isInitializeRequest(body)) {
    throw new BulkheadError('invalid_request', 'The request names no MCP session.', {
      hint: 'Begin one with `initialize`, then send its Mcp-Session-Id with every request.',
    });
  }
  const connection = await connections.open(caller, await attachedSession(service, caller, request));
  const response = await connection.answer(caller, mcpRequest);
  // What introduced itself badly has no connection.
  if (!connection.isOpen) connections.close(connection);
  return reply.send(response);
}

const attachQuery = z.strictObject({ session: idSchema('session').exactOptional() });

/** The session that a connection is opened for: `?session=`. Errors: `invalid_request`, `not_found`. */
async function attachedSession(
  { sessions }: McpService,
  caller: Caller,
  { query }: FastifyRequest,
): Promise<SessionId | undefined> {
  const parsed = attachQuery.safeParse(query);
  if (!parsed.success) {
    throw new BulkheadError('invalid_request', 'The address of an MCP connection has no query but `session`.', {
      hint: 'Name one session: /mcp?session=ses_…',
    });
  }
  const { session } = parsed.data;
  return session === undefined ? undefined : (await sessions.get(caller, session)).id;
}

/** Those that the protocol has; nothing else reaches it, the credential least of all. */
function toHeaders({ headers }: FastifyRequest): Headers {
  const passed = new Headers();
  for (const name of ['accept', 'content-type', 'last-event-id', sessionHeader, 'mcp-protocol-version']) {
    const value = headers[name];
    if (typeof value === 'string') passed.set(name, value);
  }
  return passed;
}
