// One request without TLS, handed on. It is read whole, by the rules, and written anew: what the server gets is what was decided on, whatever
// a client has hidden between the lines of the one it sent.

import { type IncomingMessage, type ServerResponse, request } from 'node:http';
import type { Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { egressMethods } from '@bulkhead/protocol';
import { hopByHop } from '../lib/hop-by-hop.ts';
import { egressError } from './egress-error.ts';
import { egressLimits } from './egress-limits.ts';
import { type Authority, parseAuthority } from './host-name.ts';

const httpPort = 80;
const methods: readonly string[] = egressMethods;
/** The length we write ourselves. */
const notHandedOn: ReadonlySet<string> = new Set([...hopByHop, 'content-length']);

export interface PlainTarget extends Authority {
  /** Path and query. */
  readonly path: string;
}

/** Of a request to a proxy: a method that rules know, an absolute URL, and a `Host`, one, that says the same. Undefined for anything else. */
export function readTarget({ url = '', method, rawHeaders }: IncomingMessage): PlainTarget | undefined {
  if (!methods.includes(method ?? '')) return undefined;
  const match = /^http:\/\/([^/?#@]+)(\/[^#]*|\?[^#]*)?$/i.exec(url);
  const target = parseAuthority(match?.[1] ?? '', httpPort);
  const hosts = pairsOf(rawHeaders).filter(([name]) => name.toLowerCase() === 'host');
  const host = parseAuthority(hosts[0]?.[1] ?? '', httpPort);
  if (target === undefined || hosts.length !== 1 || host?.host !== target.host || host.port !== target.port)
    return undefined;
  const rest = match?.[2] ?? '/';
  return { ...target, path: rest.startsWith('/') ? rest : `/${rest}` };
}

/** Errors: `tool_failed` and those of `upstream`. The response may have begun by then. */
export async function forward(
  incoming: IncomingMessage,
  response: ServerResponse,
  { host, port, path }: PlainTarget,
  upstream: Duplex,
): Promise<void> {
  const { promise: broken, reject } = Promise.withResolvers<never>();
  broken.catch(() => {});
  upstream.once('error', reject);
  const outgoing = request({
    createConnection: () => upstream,
    method: incoming.method ?? '',
    path,
    headers: requestHeaders(incoming, port === httpPort ? host : `${host}:${port}`),
    setHost: false,
    maxHeaderSize: egressLimits.headMaxBytes,
  });
  const { promise: answered, resolve, reject: fail } = Promise.withResolvers<IncomingMessage>();
  outgoing.once('response', resolve);
  outgoing.once('upgrade', (_, socket: Duplex) => {
    socket.destroy();
    fail(egressError('response', 'The server answered with another protocol.'));
  });
  // What the connection broke of is told by the connection.
  outgoing.on('error', (error) => setImmediate(fail, egressError('response', 'The server answered no HTTP.', error)));
  const sending = pipeline(incoming, outgoing).catch(() => undefined);
  const answer = await Promise.race([answered, broken]);
  response.writeHead(answer.statusCode ?? 502, responseHeaders(answer));
  await Promise.race([pipeline(answer, response), broken]);
  await Promise.race([sending, broken]);
}

function requestHeaders(incoming: IncomingMessage, host: string): string[] {
  const { 'transfer-encoding': coding, 'content-length': length } = incoming.headers;
  if (coding !== undefined && coding.toLowerCase() !== 'chunked') {
    throw egressError('target', 'Bodies of requests are sent as they are, or chunked.');
  }
  const framing =
    coding === undefined ? (length === undefined ? [] : ['Content-Length', length]) : ['Transfer-Encoding', 'chunked'];
  return ['Host', host, ...handedOn(incoming), ...framing, 'Connection', 'close'];
}

function responseHeaders(answer: IncomingMessage): string[] {
  const { 'transfer-encoding': coding, 'content-length': length } = answer.headers;
  return [...handedOn(answer), ...(coding === undefined && length !== undefined ? ['Content-Length', length] : [])];
}

function handedOn({ rawHeaders, headers }: IncomingMessage): string[] {
  const named = new Set(
    (headers.connection ?? '')
      .toLowerCase()
      .split(',')
      .map((name) => name.trim()),
  );
  return pairsOf(rawHeaders)
    .filter(([name]) => !notHandedOn.has(name.toLowerCase()) && !named.has(name.toLowerCase()))
    .flat();
}

function pairsOf(rawHeaders: readonly string[]): readonly (readonly [string, string])[] {
  const pairs: [string, string][] = [];
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) pairs.push([rawHeaders[at] ?? '', rawHeaders[at + 1] ?? '']);
  return pairs;
}
