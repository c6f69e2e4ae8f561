// One route of the table, served: who asks and for what comes from the table's entry, what is done about it from its handler.

import { Readable } from 'node:stream';
import { isDeepStrictEqual } from 'node:util';
import {
  BulkheadError,
  type Operation,
  type RouteSpec,
  type SessionId,
  type TenantId,
  type TurnId,
} from '@bulkhead/protocol';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { z } from 'zod';
import type { Service } from '../service.ts';
import { type Admitted, admission, fingerprintOf } from './admission.ts';
import { encodeEvents } from './event-stream.ts';
import type { Peers } from './forward.ts';
import { type Call, EventStream, type Handler, WithStatus } from './handler.ts';
import { checkValue, prefersEvents } from './read-request.ts';

declare module 'fastify' {
  interface FastifyRequest {
    admitted: Admitted | null;
  }
}

export type TableRoute = RouteSpec & { readonly operation: Operation };

export interface RouteContext {
  readonly service: Service;
  readonly peers: Peers;
  /** For tests: an answer that is not what the table says is an error. */
  readonly checkAnswers: boolean;
}

/** A body has to be there in this time. */
const bodyTimeoutMs = 60_000;
/** A client that takes nothing for so long, or sends nothing of what it uploads, has gone. */
const stallTimeoutMs = 60_000;
const downloadBufferBytes = 262_144;

/** The path as the router writes it. */
export function routerPath(path: string): string {
  return path.replaceAll(/\{([a-z]+)\}/g, ':$1');
}

export function mountRoute(
  app: FastifyInstance,
  route: TableRoute,
  handler: Handler<RouteSpec>,
  context: RouteContext,
): void {
  const admit = admission(context.service, route);
  const isHosted = route.errors.includes('host_unavailable');
  app.route({
    method: route.method,
    url: routerPath(route.path),
    onRequest: async (request, reply) => {
      const admitted = await admit(request);
      request.admitted = admitted;
      if (route.body === undefined) refuseBody(request);
      if (isHosted && (await sendElsewhere(admitted, request, reply, context))) return;
      if (route.body === 'bytes') request.raw.socket.setTimeout(stallTimeoutMs);
      else if (route.body !== undefined) limitBodyTime(request, reply);
    },
    handler: async (request, reply) => {
      const call = makeCall(route, request, reply, context);
      // What creates and answers with a stream does by itself once what has to be done once.
      const isKept = route.creates === true && route.events === undefined;
      // A stream that may not be opened does not begin what it would tell.
      using holding = new DisposableStack();
      if (call.wantsEvents) holding.use(context.service.connections.open(tenantOf(call)));
      const answer: unknown = await (isKept ? call.once(() => handler(call)) : handler(call));
      if (answer instanceof EventStream) return sendEvents(answer, call, reply.code(route.status), holding.move());
      return await sendAnswer(route, answer, reply, context);
    },
  });
}

/** Errors: `not_found`, `host_unavailable`. */
async function sendElsewhere(
  { caller, params }: Admitted,
  request: FastifyRequest,
  reply: FastifyReply,
  { service, peers }: RouteContext,
): Promise<boolean> {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- they have been parsed by the schemas of the table
  const { session, turn } = (params ?? {}) as { readonly session?: SessionId; readonly turn?: TurnId };
  if (caller === null || session === undefined) return false;
  const place = await service.sessions.locate(caller, session, turn);
  if (place === 'here') return false;
  await peers.forward(place.url, request, reply);
  return true;
}

/** Of a request that is read whole before it is answered. */
export function limitBodyTime(request: FastifyRequest, reply: FastifyReply): void {
  const timer = setTimeout(() => {
    if (request.raw.complete || reply.sent) return;
    void reply.header('connection', 'close').send(
      new BulkheadError('invalid_request', `The body did not arrive within ${bodyTimeoutMs / 1000} s.`, {
        hint: 'Upload large content as a file.',
      }),
    );
  }, bodyTimeoutMs);
  request.raw.once('close', () => clearTimeout(timer));
  request.raw.once('end', () => clearTimeout(timer));
  reply.raw.once('close', () => clearTimeout(timer));
}

function makeCall(route: TableRoute, request: FastifyRequest, reply: FastifyReply, { service }: RouteContext): Call {
  const { admitted, headers } = request;
  if (admitted === null) throw new Error(`${route.operation} was not admitted`);
  const { caller, params, query, expectedVersion, lastEventId, idempotencyKey } = admitted;
  const body = readBody(route, request);
  const gone = new AbortController();
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) gone.abort();
  });
  const parsed = {
    service,
    caller,
    params,
    query,
    body,
    expectedVersion,
    lastEventId,
    wantsEvents: route.events !== undefined && prefersEvents(headers.accept),
    signal: gone.signal,
    mayBeRepeated: idempotencyKey !== undefined,
    async once<T>(work: () => Promise<T>): Promise<T> {
      if (idempotencyKey === undefined || caller === null) return await work();
      const fingerprint = fingerprintOf(route.operation, admitted, body);
      const { status } = route;
      const answer = await service.idempotency.run(caller, idempotencyKey, fingerprint, async () => ({
        status,
        headers: {},
        body: JSON.stringify(await work()),
      }));
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- it is what `work` answered, here or before
      return JSON.parse(answer.body) as T;
    },
  };
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- every part has been parsed by the schema of the table that its type comes from
  return parsed as unknown as Call;
}

function readBody({ body: schema }: TableRoute, request: FastifyRequest): unknown {
  if (schema === 'bytes') return { bytes: request.raw, sizeBytes: readLength(request) };
  if (schema === undefined) return undefined;
  if (request.body !== undefined) return checkValue(schema, request.body, 'body');
  throw new BulkheadError('invalid_request', 'This route takes a body in JSON.', { hint: 'The least one is {}.' });
}

/** Errors: `invalid_request`. */
function refuseBody({ headers }: FastifyRequest): void {
  const length = headers['content-length'] ?? '0';
  if (length === '0' && headers['transfer-encoding'] === undefined) return;
  throw new BulkheadError('invalid_request', 'This route takes no body.');
}

/** Errors: `length_required`. */
function readLength({ headers }: FastifyRequest): number {
  const length = headers['content-length'];
  if (headers['transfer-encoding'] === undefined && length !== undefined) return Number(length);
  throw new BulkheadError('length_required', 'The length of the content has to be stated.', {
    hint: 'Send Content-Length and the content as it is, not chunked.',
  });
}

async function sendAnswer(
  route: TableRoute,
  answer: unknown,
  reply: FastifyReply,
  context: RouteContext,
): Promise<FastifyReply> {
  const [status, body] = answer instanceof WithStatus ? [answer.status, answer.answer] : [route.status, answer];
  void reply.code(status);
  if (route.answer === undefined) return reply.send();
  if (route.answer === 'bytes') return await sendBytes(toBytes(body), reply);
  if (context.checkAnswers && route.answer !== 'websocket') checkAnswer(route.answer, body, route.operation);
  if (route.versioned === true) void reply.header('etag', `"${versionOf(body)}"`);
  return reply.type('application/json; charset=utf-8').send(JSON.stringify(body));
}

function sendEvents(stream: EventStream, call: Call, reply: FastifyReply, held: DisposableStack): FastifyReply {
  const { service, signal } = call;
  reply.raw.socket?.setTimeout(stallTimeoutMs);
  const readable = encodeEvents(stream, AbortSignal.any([signal, service.stopping]));
  readable.once('close', () => held.dispose());
  return reply
    .headers({
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store',
      'x-accel-buffering': 'no',
    })
    .send(readable);
}

/** Only callers have streams. */
function tenantOf({ caller }: Call): TenantId {
  // oxlint-disable-next-line typescript/no-unnecessary-condition -- a public route has no caller
  if (caller === null) throw new TypeError('A public route has no events.');
  return caller.tenant;
}

/** With the first bytes: until then, what cannot be read is an error like any other. */
async function sendBytes(bytes: AsyncIterable<Uint8Array>, reply: FastifyReply): Promise<FastifyReply> {
  const iterator = bytes[Symbol.asyncIterator]();
  const first = await iterator.next();
  reply.raw.socket?.setTimeout(stallTimeoutMs);
  async function* all(): AsyncGenerator<Uint8Array, void, void> {
    try {
      for (let next = first; next.done !== true; next = await iterator.next()) yield next.value;
    } finally {
      await iterator.return?.();
    }
  }
  return reply
    .headers({ 'content-type': 'application/octet-stream', 'content-disposition': 'attachment' })
    .send(Readable.from(all(), { objectMode: false, highWaterMark: downloadBufferBytes }));
}

function toBytes(body: unknown): AsyncIterable<Uint8Array> {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the type of the handler
  return body as AsyncIterable<Uint8Array>;
}

function versionOf(body: unknown): number {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- every resource of a versioned route has one
  return (body as { readonly version: number }).version;
}

function checkAnswer(schema: z.ZodType, body: unknown, operation: Operation): void {
  const parsed = schema.safeParse(body);
  if (!parsed.success) throw new Error(`${operation} answered what the table does not have: ${parsed.error.message}`);
  // What is sent is JSON, whatever the value was.
  if (!isDeepStrictEqual(parsed.data, JSON.parse(JSON.stringify(body)))) {
    throw new Error(`${operation} answered with more than the table has: ${JSON.stringify(body)}`);
  }
}
