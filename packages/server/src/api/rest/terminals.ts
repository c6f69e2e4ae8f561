// The route of terminals. Who asks is decided before the WebSocket is opened, and the session is awake by then: what is refused is refused as everywhere
// else, with a status and a problem.

import type { IncomingMessage } from 'node:http';
import websocket from '@fastify/websocket';
import { BulkheadError, type SessionId, limits, routes } from '@bulkhead/protocol';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { WebSocket } from 'ws';
import { systemClock } from '../../lib/clock.ts';
import type { SessionGuest } from '../../sessions/session-guest.ts';
import { type Caller, checkScope } from '../../tenants/caller.ts';
import type { Service } from '../service.ts';
import { admitCaller } from './admission.ts';
import type { MountContext } from './create-server.ts';
import { routerPath } from './mount-route.ts';
import { checkValue, queryReader } from './read-request.ts';
import { type TerminalRequest, runTerminal } from './terminal.ts';

export const terminalProtocol = 'bulkhead.terminal.v1';
const tokenProtocol = 'bulkhead.token.';
const spec = routes.openTerminal;
const readQuery = queryReader(spec.query);

/** What was admitted, for the handler. */
interface Opened {
  readonly caller: Caller;
  readonly guest: SessionGuest;
  readonly request: TerminalRequest;
  readonly checkAccess: () => Promise<unknown>;
}

/** Whether a request asks to change to a WebSocket at the place where one is opened. */
export function isTerminalRequest({ headers, url = '', method }: IncomingMessage): boolean {
  const isThere = /^\/v1\/sessions\/[^/?]+\/terminal(?:\?|$)/.test(url);
  return isThere && method === 'GET' && headers.upgrade?.toLowerCase() === 'websocket';
}

export async function mountTerminals(app: FastifyInstance, { service, upgrades }: MountContext): Promise<void> {
  const opened = new WeakMap<FastifyRequest, Opened>();
  await app.register(websocket, {
    options: {
      server: upgrades,
      maxPayload: limits.terminalMessageMaxBytes,
      perMessageDeflate: false,
      handleProtocols: () => terminalProtocol,
    },
    errorHandler: (_error, socket) => socket.terminate(),
  });
  app.route({
    method: spec.method,
    url: routerPath(spec.path),
    onRequest: async (request) => {
      opened.set(request, await open(service, request));
    },
    handler: () => {
      throw new BulkheadError('invalid_request', 'A terminal is a WebSocket.', {
        hint: `Open it with the subprotocol ${terminalProtocol}.`,
      });
    },
    wsHandler: async (socket: WebSocket, request) => {
      const terminal = opened.get(request);
      if (terminal === undefined) throw new TypeError('a terminal is admitted before it is opened');
      const { caller, guest, checkAccess } = terminal;
      try {
        using _counted = service.connections.open(caller.tenant);
        using _held = service.attachments.hold();
        const { closing: stopping } = service.attachments;
        await runTerminal(socket, guest, terminal.request, { clock: systemClock, stopping, checkAccess });
      } catch (error) {
        socket.close(1013, BulkheadError.is(error) ? error.code : 'internal');
      }
    },
  });
}

/** Errors: those of the route. */
async function open(service: Service, request: FastifyRequest): Promise<Opened> {
  const { authorization } = request.headers;
  const protocols = (request.headers['sec-websocket-protocol'] ?? '').split(',').map((name) => name.trim());
  const token = protocols.find((name) => name.startsWith(tokenProtocol))?.slice(tokenProtocol.length);
  const { session } = checkValue(spec.params, request.params, 'path');
  const caller = await admit(service, request, session, authorization === undefined ? token : undefined);
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- it has been parsed by the schema of the table
  const terminal = readQuery(request.raw.url ?? '') as TerminalRequest;
  await service.sessions.get(caller, session);
  if (!isTerminalRequest(request.raw) || !protocols.includes(terminalProtocol)) {
    throw new BulkheadError('invalid_request', 'A terminal is a WebSocket with a subprotocol.', {
      hint: `Open it with the subprotocol ${terminalProtocol}.`,
    });
  }
  if (service.attachments.closing.aborted) throw new BulkheadError('server_stopping', 'The server is stopping.');
  const guest = await service.sessions.guest(caller, session);
  // Who came with a header is known by it for as long as it holds; a token has been used.
  const checkAccess = async (): Promise<unknown> =>
    authorization === undefined ? undefined : await service.access.authenticate(authorization);
  return { caller, guest, request: terminal, checkAccess };
}

async function admit(
  service: Service,
  request: FastifyRequest,
  session: SessionId,
  token: string | undefined,
): Promise<Caller> {
  if (token === undefined) return await admitCaller(service, request, spec.scope);
  const caller = service.ports.redeemTerminalToken(token, session);
  await service.access.spend(caller);
  checkScope(caller, spec.scope);
  return caller;
}
