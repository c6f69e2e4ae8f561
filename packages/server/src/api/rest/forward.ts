// A request for a session that another server has goes there as it came, body and all, with the caller's own credential: that server decides
// again who asks and what they may do. Servers have no credential of their own, so nothing is gained by speaking to one as if one were another.

import { Agent as HttpAgent, type IncomingMessage, type OutgoingHttpHeaders, request as httpRequest } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { pipeline } from 'node:stream/promises';
import { BulkheadError } from '@bulkhead/protocol';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { hopByHop } from '../../lib/hop-by-hop.ts';

/** How often a request has been sent on; it is, once. */
export const hopsHeader = 'x-bulkhead-hops';
const hopsMaxCount = 1;
const connectTimeoutMs = 5000;

const notPassedOn: ReadonlySet<string> = new Set([...hopByHop, hopsHeader]);

export class Peers implements Disposable {
  readonly #http = new HttpAgent({ keepAlive: true, maxSockets: 256, maxFreeSockets: 16 });
  readonly #https = new HttpsAgent({ keepAlive: true, maxSockets: 256, maxFreeSockets: 16 });

  /**
   * Answers with what the other server answers, both ways as fast as the slower side. Errors, while nothing has been answered: `host_unavailable`.
   */
  async forward(url: string, request: FastifyRequest, reply: FastifyReply): Promise<void> {
    const hops = Number(request.headers[hopsHeader] ?? 0);
    if (!(hops < hopsMaxCount)) throw unavailable('The servers do not agree on which of them has this session.');
    const gone = new AbortController();
    reply.raw.once('close', () => gone.abort());
    const answer = await this.#send(targetOf(url, request.raw.url ?? '/'), request, hops + 1, gone.signal);
    reply.hijack();
    const { raw } = reply;
    raw.writeHead(answer.statusCode ?? 502, passOn(answer.headers));
    // Whichever side goes first ends the other; there is nobody left to tell.
    await pipeline(answer, raw).catch(() => undefined);
  }

  #send(url: URL, request: FastifyRequest, hops: number, signal: AbortSignal): Promise<IncomingMessage> {
    const isTls = url.protocol === 'https:';
    const answered = Promise.withResolvers<IncomingMessage>();
    const sent = (isTls ? httpsRequest : httpRequest)(url, {
      method: request.method,
      agent: isTls ? this.#https : this.#http,
      headers: { ...passOn(request.headers), 'x-request-id': request.id, [hopsHeader]: String(hops) },
      signal,
    });
    const late = setTimeout(() => sent.destroy(new Error('no connection')), connectTimeoutMs);
    sent.once('socket', (socket) => {
      if (socket.connecting) socket.once(isTls ? 'secureConnect' : 'connect', () => clearTimeout(late));
      else clearTimeout(late);
    });
    sent.once('response', (response) => answered.resolve(response));
    sent.on('error', (error) => {
      clearTimeout(late);
      answered.reject(unavailable('The server that has this session does not answer.', error));
    });
    pipeline(request.raw, sent).catch(() => undefined);
    return answered.promise;
  }

  [Symbol.dispose](): void {
    this.#http.destroy();
    this.#https.destroy();
  }
}

/** The path of a request at another server. A request may name its target whole, host and all: that host is nowhere to send anything. */
function targetOf(server: string, path: string): URL {
  const target = new URL(server);
  const found = /^(\/[^/?#\\][^?#\\]*)(?:\?([^#]*))?$/.exec(path);
  if (found === null) throw new BulkheadError('invalid_request', 'The request has to name its target by a path.');
  target.pathname = found[1] ?? '/';
  target.search = found[2] ?? '';
  return target;
}

function passOn(headers: NodeJS.Dict<string | string[]>): OutgoingHttpHeaders {
  const named = new Set(
    String(headers['connection'] ?? '')
      .split(',')
      .map((name) => name.trim().toLowerCase()),
  );
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !notPassedOn.has(name) && !named.has(name)));
}

function unavailable(message: string, cause?: unknown): BulkheadError {
  return new BulkheadError('host_unavailable', message, {
    hint: 'Try again in a moment. What its turns printed until they ended can be read all the same.',
    cause,
  });
}
