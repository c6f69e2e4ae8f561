// The HTTP server: every route of the table, and what all of them have in common. What comes from the network is bounded here before anything
// of ours sees it: headers, bodies, connections, the time that each may take.

import { type IncomingMessage, type Server, type ServerResponse, createServer as createHttpServer } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { Duplex } from 'node:stream';
import { BulkheadError, limits, makeId, routeList } from '@bulkhead/protocol';
import { type FastifyInstance, type FastifyReply, LogController, fastify } from 'fastify';
import { parseStrictJson } from '../../lib/strict-json.ts';
import type { Service } from '../service.ts';
import { type CorsOptions, allowOrigins } from './cors.ts';
import { Peers } from './forward.ts';
import type { Handler, Handlers } from './handler.ts';
import { handlers } from './handlers.ts';
import { type LogOptions, answerLine, loggerOptions } from './log.ts';
import { type TableRoute, mountRoute } from './mount-route.ts';
import { isTerminalRequest, mountTerminals } from './terminals.ts';
import { problemHeaders, problemType, toBulkheadError, toProblem } from './problems.ts';
import type { TlsOptions } from './tls.ts';
import { answerUnparsed, notFoundHandler } from './unknown-requests.ts';

/** What answers on this listener before everything else: requests for it are seen by nothing of the API. */
export interface Interceptor {
  isForPort(request: IncomingMessage): boolean;
  handle(request: IncomingMessage, response: ServerResponse): Promise<void>;
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void>;
}

/** What is no plain request and answer, mounted beside the table: terminals, MCP. */
export type Mount = (app: FastifyInstance, context: MountContext) => void | Promise<void>;

export interface MountContext {
  readonly service: Service;
  readonly peers: Peers;
  /** Never listens: it emits `upgrade` for the WebSockets of the API. */
  readonly upgrades: Server;
}

export interface ServerOptions {
  readonly log?: LogOptions;
  readonly tls?: TlsOptions;
  /** Addresses of proxies whose `X-Forwarded-*` are believed. */
  readonly trustProxy?: readonly string[];
  readonly cors?: CorsOptions;
  readonly mounts?: readonly Mount[];
  /** Ports of sessions. */
  readonly ports?: Interceptor;
  /** For tests: an answer that is not what the table says is an error. */
  readonly checkAnswers?: boolean;
}

const headersTimeoutMs = 15_000;
const keepAliveTimeoutMs = 72_000;
const connectionsCheckingIntervalMs = 5000;
const headerMaxBytes = 32_768;
const headersMaxCount = 100;
const connectionsMaxCount = 10_000;
const requestsPerSocketMaxCount = 100_000;
/** A request id that a client may choose. */
const requestIdPattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const jsonBounds = { depthMaxCount: limits.jsonDepthMaxCount, valuesMaxCount: limits.jsonValuesMaxCount };

const securityHeaders: Readonly<Record<string, string>> = {
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
};
const strictTransport = 'max-age=31536000';

/** Not listening yet. Closing it ends what is open. */
export async function createServer(service: Service, options: ServerOptions = {}): Promise<FastifyInstance> {
  const { log, tls, trustProxy, cors, mounts = [], ports, checkAnswers = false } = options;
  const upgrades = createHttpServer();
  const isForPort = (request: IncomingMessage): boolean => ports?.isForPort(request) === true;
  const app = fastify({
    logger: log === undefined ? false : loggerOptions(log),
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: limits.bodyMaxBytes,
    exposeHeadRoutes: false,
    forceCloseConnections: true,
    trustProxy: trustProxy === undefined ? false : [...trustProxy],
    requestIdHeader: false,
    genReqId: ({ headers }) => {
      const given = headers['x-request-id'];
      return typeof given === 'string' && requestIdPattern.test(given) ? given : makeId('request');
    },
    clientErrorHandler: answerUnparsed,
    frameworkErrors: (thrown, request, reply) => {
      void reply.headers({ ...securityHeaders, 'x-request-id': request.id });
      sendProblem(toBulkheadError(thrown), request.id, reply);
    },
    serverFactory: (handleOwn) => {
      const handle = (request: IncomingMessage, response: ServerResponse): void => {
        if (ports !== undefined && isForPort(request)) void ports.handle(request, response);
        else handleOwn(request, response);
      };
      const http = {
        maxHeaderSize: headerMaxBytes,
        headersTimeout: headersTimeoutMs,
        // The time of a body is bounded by what it is: an upload may take hours, as long as it moves.
        requestTimeout: 0,
        keepAliveTimeout: keepAliveTimeoutMs,
        connectionsCheckingInterval: connectionsCheckingIntervalMs,
        keepAlive: true,
        noDelay: true,
        // Refused below, as a problem like any other.
        requireHostHeader: false,
        // Clients offer other protocols, too, and are answered in the one that they speak.
        shouldUpgradeCallback: (request: IncomingMessage) => isForPort(request) || isTerminalRequest(request),
      };
      const server =
        tls === undefined
          ? createHttpServer(http, handle)
          : createHttpsServer({ ...http, ...tls, handshakeTimeout: headersTimeoutMs }, handle);
      server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
        if (ports !== undefined && isForPort(request)) void ports.upgrade(request, socket, head);
        else upgrades.emit('upgrade', request, socket, head);
      });
      server.maxHeadersCount = headersMaxCount;
      server.maxConnections = connectionsMaxCount;
      server.maxRequestsPerSocket = requestsPerSocketMaxCount;
      return server;
    },
  });
  const peers = new Peers();
  app.addHook('onClose', async () => peers[Symbol.dispose]());
  app.decorateRequest('admitted', null);
  app.addHook('onRequest', async (request, reply) => {
    void reply.headers({ ...securityHeaders, 'x-request-id': request.id });
    if (request.raw.httpVersion === '1.1' && request.headers.host === undefined) {
      throw new BulkheadError('invalid_request', 'The request names no host.');
    }
    if (tls !== undefined) void reply.header('strict-transport-security', strictTransport);
    if (service.readiness().status === 'stopping' && !isProbe(request.raw.url)) {
      void reply.header('connection', 'close');
      throw new BulkheadError('server_stopping', 'The server is stopping.', { hint: 'Ask again in a moment.' });
    }
    // Before its body is looked at: a method that no route has may be one that comes with a body, or not.
    if (request.is404) notFoundHandler(request, reply);
  });
  if (cors !== undefined) allowOrigins(app, cors);
  if (log !== undefined) {
    app.addHook('onResponse', async (request, reply) => request.log.info(answerLine(request, reply), 'answered'));
  }
  app.setErrorHandler((thrown, request, reply) => {
    const error = toBulkheadError(thrown);
    if (error.code === 'internal') request.log.error({ err: thrown }, 'a request failed');
    sendProblem(error, request.id, reply);
    return reply;
  });
  app.setNotFoundHandler(notFoundHandler);
  const context = { service, peers, upgrades, checkAnswers };
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, async (_request: unknown, body: Buffer) =>
    body.length === 0 ? undefined : parseStrictJson(body, jsonBounds),
  );
  mountAll(
    app,
    routeList.filter((route) => takesJson(route)),
  );
  await app.register(async (others) => {
    others.removeAllContentTypeParsers();
    // Nothing is read here: a handler takes what comes as fast as the guest does.
    others.addContentTypeParser('*', async () => undefined);
    mountAll(
      others,
      routeList.filter((route) => !takesJson(route)),
    );
  });
  for (const mount of [mountTerminals, ...mounts])
    await app.register(async (instance) => await mount(instance, context));
  return app;

  function mountAll(instance: FastifyInstance, routes: readonly TableRoute[]): void {
    for (const route of routes) {
      const handler = handlerOf(handlers, route);
      if (handler !== undefined) mountRoute(instance, route, handler, context);
    }
  }
}

function sendProblem(error: BulkheadError, requestId: string, reply: Pick<FastifyReply, 'code' | 'headers'>): void {
  const problem = toProblem(error, requestId);
  void reply
    .code(problem.status)
    .headers({ ...problemHeaders(error), 'content-type': problemType })
    .send(JSON.stringify(problem));
}

function takesJson({ body }: TableRoute): boolean {
  return body !== undefined && body !== 'bytes';
}

/** None for what is mounted beside: the type of `Handlers` sees to the rest. */
function handlerOf(all: Handlers, { operation }: TableRoute): Handler<TableRoute> | undefined {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- each handler belongs to the route of its name, by its type
  return (all as unknown as Readonly<Record<string, Handler<TableRoute> | undefined>>)[operation];
}

function isProbe(url: string | undefined): boolean {
  return url === '/healthz' || url === '/readyz';
}
