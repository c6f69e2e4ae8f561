// One request of a client, carried to a server in a session over a connection of its own, and what it answers carried back: each way as fast as the
// slower side. A connection carries one request, so nothing that one client sends can become the beginning of another's.

import { type IncomingMessage, type ServerResponse, request as httpRequest } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { BulkheadError, limits } from '@bulkhead/protocol';
import type { GuestConnection } from '../../guest/guest.ts';
import type { Clock } from '../../lib/clock.ts';
import { type PortContext, toClientHeaders, toGuestHeaders } from './port-headers.ts';

const headersMaxCount = 256;

export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** Path and query for the guest. */
  readonly target: string;
  readonly context: PortContext;
  readonly connection: GuestConnection;
  readonly clock: Clock;
}

/** What the guest did with a request to change the protocol. */
export interface Upgraded {
  readonly answer: IncomingMessage;
  readonly head: Buffer;
}

/** Answers, unless the guest takes the WebSocket that was asked for. Errors, while nothing is answered: `port_unreachable`, those of a connection. */
export async function exchange(what: Exchange, wantsWebSocket = false): Promise<Upgraded | undefined> {
  const { request, response, target, context, connection, clock } = what;
  const headers = toGuestHeaders(request, context);
  if (wantsWebSocket) Object.assign(headers, { connection: 'Upgrade', upgrade: 'websocket' });
  const answered = Promise.withResolvers<IncomingMessage | Upgraded>();
  const sent = httpRequest({
    method: request.method,
    path: target,
    headers,
    setHost: false,
    maxHeaderSize: limits.portHeaderMaxBytes,
    insecureHTTPParser: false,
    createConnection: () => connection,
  });
  sent.maxHeadersCount = headersMaxCount;
  sent.once('response', (answer) => answered.resolve(answer));
  if (wantsWebSocket) sent.once('upgrade', (answer, _socket, head) => answered.resolve({ answer, head }));
  sent.on('error', (error) => answered.reject(unreachable(connection, error)));
  // An upgrade that was not asked for closes it without an error.
  sent.once('close', () => answered.reject(unreachable(connection, new Error('closed without an answer'))));
  const stopWatch = watchIdle(request.socket, clock, () => sent.destroy(idleError()));
  const onClosed = (): unknown => sent.destroy();
  response.once('close', onClosed);
  request.on('error', () => undefined);
  try {
    if (wantsWebSocket) sent.end();
    else request.pipe(sent);
    const answer = await answered.promise;
    if ('head' in answer) return answer;
    // A server may answer before it has read all, or without reading it; what else comes is not the next request.
    if (!request.complete) response.shouldKeepAlive = false;
    await pass(answer, response, context);
    return undefined;
  } finally {
    stopWatch();
    response.off('close', onClosed);
  }
}

async function pass(answer: IncomingMessage, response: ServerResponse, context: PortContext): Promise<void> {
  try {
    const headers = Object.entries(toClientHeaders(answer, context)).map(
      ([name, value]) => [name, [value].flat()] as const,
    );
    for (const [name, values] of headers) response.setHeader(name, values);
    response.writeHead(answer.statusCode ?? 502);
  } catch (error) {
    for (const name of response.getHeaderNames()) response.removeHeader(name);
    throw new BulkheadError('port_unreachable', 'The server in the session answered with what is no answer.', {
      cause: error,
    });
  }
  // Cut off where the guest cut it off: a client must not take a part for the whole. There is nobody left to tell.
  await pipeline(answer, response).catch(() => response.destroy());
}

function unreachable(connection: GuestConnection, error: Error): BulkheadError {
  if (BulkheadError.is(error)) return error;
  const { errored } = connection;
  if (BulkheadError.is(errored)) return errored;
  return new BulkheadError('port_unreachable', 'The server in the session did not answer as an HTTP server does.', {
    cause: error,
  });
}

/** Joins two streams, each way with its own end, until both have ended or one breaks. */
export async function join(client: Duplex, guest: Duplex): Promise<void> {
  // Each is in two pipelines, which is more listeners than a stream takes for usual.
  for (const stream of [client, guest]) stream.setMaxListeners(32);
  const both = [pipeline(client, guest), pipeline(guest, client)];
  await Promise.allSettled(both);
  client.destroy();
  guest.destroy();
}

function nothing(): void {}

/** Calls back when no byte has come from, or gone to, a client for `portIdleMs`; at the latest after twice as long. */
export function watchIdle(socket: Socket, clock: Clock, onIdle: () => void): () => void {
  let before = -1;
  let cancel: () => void = nothing;
  const arm = (): void => {
    cancel = clock.after(limits.portIdleMs, () => {
      const moved = socket.bytesRead + socket.bytesWritten;
      if (moved === before) onIdle();
      else arm();
      before = moved;
    });
  };
  arm();
  return () => cancel();
}

function idleError(): BulkheadError {
  return new BulkheadError('port_unreachable', 'The server in the session has said nothing for too long.');
}
