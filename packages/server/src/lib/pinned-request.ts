// One HTTP request on a connection of its own, to an address that was checked: the name is not resolved again between the check and the connection.
// What is sent is what was given, byte for byte; a redirect is an answer like another.

import { type IncomingHttpHeaders, type IncomingMessage, type RequestOptions, request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import type { LookupFunction } from 'node:net';
import { orAbort } from './or-abort.ts';
import { type Resolve, type ResolvedAddress, resolveAllowed } from './network-addresses.ts';

export interface PinnedRequest {
  /** Scheme, host and port of it count. */
  readonly origin: URL;
  readonly method: string;
  /** With the query; written as it is. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | undefined;
  /** For all of it, the answer's body included. */
  readonly signal: AbortSignal;
}

export interface Reach {
  /** In CIDR notation, beside public addresses. */
  readonly ranges: readonly string[];
  readonly resolve?: Resolve | undefined;
}

export interface PinnedAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** Has to be read, or destroyed. */
  readonly body: IncomingMessage;
}

/** Errors: `AddressRefused`, those of the connection, `signal.reason`. */
export async function sendPinned(
  { origin, method, path, headers, body, signal }: PinnedRequest,
  { ranges, resolve }: Reach,
): Promise<PinnedAnswer> {
  signal.throwIfAborted();
  // The system's resolver cannot be told to stop.
  const addresses = await orAbort(resolveAllowed(origin.hostname, ranges, resolve), signal);
  const isTls = origin.protocol === 'https:';
  const options: RequestOptions = {
    host: origin.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: origin.port === '' ? (isTls ? 443 : 80) : Number(origin.port),
    method,
    path,
    headers: { ...headers, ...(body === undefined ? {} : { 'content-length': Buffer.byteLength(body) }) },
    lookup: lookupIn(addresses),
    agent: false,
    signal,
  };
  const { promise, resolve: answer, reject } = Promise.withResolvers<PinnedAnswer>();
  const sent = (isTls ? requestHttps : requestHttp)(options);
  sent.once('response', (response) => {
    // What breaks later is told to whoever reads the body; when nobody does, it is nobody's loss.
    response.on('error', () => undefined);
    answer({ status: response.statusCode ?? 0, headers: response.headers, body: response });
  });
  // A server that changes the protocol has answered nothing.
  sent.once('upgrade', (_, socket) => {
    socket.destroy();
    reject(new Error('The server changed the protocol.'));
  });
  sent.on('error', (error) => reject(signal.aborted ? signal.reason : error));
  sent.end(body);
  return await promise;
}

function lookupIn(addresses: readonly ResolvedAddress[]): LookupFunction {
  return (_name, { all }, callback) => {
    const [first] = addresses;
    if (all === true) callback(null, [...addresses]);
    else callback(null, first?.address ?? '', first?.family);
  };
}
