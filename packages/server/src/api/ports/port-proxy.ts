// Requests and WebSockets for the ports of sessions, from the client's socket to the server in the guest. It stands before everything else that
// answers on its listener: what is for a port never reaches the API, and a token in an address no log.

import { type IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';
import { BulkheadError, type TenantId } from '@bulkhead/protocol';
import { type Clock, systemClock } from '../../lib/clock.ts';
import type { ExposedPorts, OpenPort } from '../../ports/exposed-ports.ts';
import type { PortAddresses, PortPlace } from './port-addresses.ts';
import { answerProblem, answerRedirect } from './port-answers.ts';
import { exchange, join, watchIdle } from './port-exchange.ts';
import { type PortContext, toClientHeaders } from './port-headers.ts';
import { checkOrigin, checkPortRequest, readTokens, tokenCookie } from './port-request.ts';

export interface PortProxyOptions {
  readonly ports: ExposedPorts;
  readonly addresses: PortAddresses;
  /** One more connection of a tenant, until it is disposed. Errors: `quota_exceeded`. */
  readonly countConnection?: (tenant: TenantId) => Disposable;
  /** Aborted when the server stops. */
  readonly stopping?: AbortSignal;
  readonly clock?: Clock;
}

interface Admitted {
  readonly open: OpenPort;
  readonly target: string;
  readonly context: PortContext;
}

export class PortProxy {
  readonly #ports: ExposedPorts;
  readonly #addresses: PortAddresses;
  readonly #countConnection: (tenant: TenantId) => Disposable;
  readonly #stopping: AbortSignal | undefined;
  readonly #clock: Clock;

  constructor(options: PortProxyOptions) {
    this.#ports = options.ports;
    this.#addresses = options.addresses;
    this.#countConnection = options.countConnection ?? ((): Disposable => ({ [Symbol.dispose]: () => undefined }));
    this.#stopping = options.stopping;
    this.#clock = options.clock ?? systemClock;
  }

  /** Whether a request is for a port, and nobody else's to answer. */
  isForPort({ headers, url = '' }: IncomingMessage): boolean {
    return this.#addresses.isForPort(headers.host, url);
  }

  /** Never rejects. */
  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const admitted = this.#admit(request, response);
      if (admitted !== undefined) await this.#exchange(request, response, admitted);
    } catch (error) {
      answerProblem(response, error);
    }
  }

  /** Never rejects. */
  async upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    socket.on('error', () => undefined);
    const response = new ServerResponse(request);
    response.shouldKeepAlive = false;
    if (!(socket instanceof Socket)) {
      socket.destroy();
      return;
    }
    response.assignSocket(socket);
    response.once('finish', () => socket.end());
    try {
      const { headers, method } = request;
      if (headers.upgrade?.toLowerCase() !== 'websocket' || method !== 'GET') {
        throw new BulkheadError('invalid_request', 'Only a WebSocket can be opened here.');
      }
      const admitted = this.#admit(request, response);
      if (admitted !== undefined) await this.#exchange(request, response, admitted, { socket, head });
    } catch (error) {
      answerProblem(response, error);
    }
  }

  /** Undefined when it has been answered. Errors: `invalid_request`, `unauthenticated`, `forbidden`, `server_stopping`. */
  #admit(request: IncomingMessage, response: ServerResponse): Admitted | undefined {
    if (this.#stopping?.aborted === true) throw new BulkheadError('server_stopping', 'The server is stopping.');
    checkPortRequest(request);
    const place = this.#addresses.find(request.headers.host, request.url ?? '');
    if (place === undefined) throw new BulkheadError('not_found', 'There is nothing at this address.');
    const { tokens, from, target } = readTokens(request, place.target);
    const open = this.#ports.open(place.id, tokens);
    const isTls = (this.#addresses.protocol ?? (request.socket instanceof TLSSocket ? 'https' : 'http')) === 'https';
    if (from === 'query') {
      this.#redirect(request, response, { place, target, token: tokens[0] ?? '', open, isTls });
      return undefined;
    }
    if (from === 'cookie') checkOrigin(request);
    if (this.#addresses.kind === 'api' && request.headers['service-worker'] !== undefined) {
      throw new BulkheadError('forbidden', 'No service worker can be had from here.', {
        hint: 'Give ports an origin of their own: BULKHEAD_PORTS_URL.',
      });
    }
    if (target.startsWith('/')) {
      return { open, target, context: { addresses: this.#addresses, place, port: open.exposed.port, isTls } };
    }
    answerRedirect(request, response, { location: `${place.prefix}/${target}` });
    return undefined;
  }

  /** From an address that somebody was given to one without the token. */
  #redirect(
    request: IncomingMessage,
    response: ServerResponse,
    to: {
      readonly place: PortPlace;
      readonly target: string;
      readonly token: string;
      readonly open: OpenPort;
      readonly isTls: boolean;
    },
  ): void {
    const { place, target, token, open, isTls } = to;
    if (!['GET', 'HEAD'].includes(request.method ?? '') || request.headers.upgrade !== undefined) {
      throw new BulkheadError('invalid_request', 'A token in an address is for opening a page, once.', {
        hint: 'Programs send it in the header X-Bulkhead-Port-Token.',
      });
    }
    const location = place.prefix + (target.startsWith('/') ? target : `/${target}`);
    if (location.startsWith('//')) throw new BulkheadError('invalid_request', 'The path begins with two slashes.');
    const leftMs = open.exposed.expiresAtUnixMs - this.#clock.unixMs();
    const attributes = [
      `Path=${place.prefix}/`,
      `Max-Age=${Math.max(1, Math.floor(leftMs / 1000))}`,
      'HttpOnly',
      'SameSite=Strict',
      ...(isTls ? ['Secure'] : []),
    ];
    answerRedirect(request, response, { location, cookie: `${tokenCookie}=${token}; ${attributes.join('; ')}` });
  }

  async #exchange(
    request: IncomingMessage,
    response: ServerResponse,
    { open, target, context }: Admitted,
    upgrade?: { readonly socket: Socket; readonly head: Buffer },
  ): Promise<void> {
    using _counted = this.#countConnection(open.exposed.tenant);
    const gone = new AbortController();
    const onGone = (): void => gone.abort();
    response.once('close', onGone);
    const connection = await open.connect({ signal: gone.signal });
    const stop = (): unknown => connection.destroy(new BulkheadError('server_stopping', 'The server is stopping.'));
    this.#stopping?.addEventListener('abort', stop, { once: true });
    try {
      const what = { request, response, target, context, connection, clock: this.#clock };
      const upgraded = await exchange(what, upgrade !== undefined);
      if (upgraded === undefined || upgrade === undefined) return;
      const { socket } = upgrade;
      response.off('close', onGone);
      response.detachSocket(socket);
      socket.write(switching(upgraded.answer, context));
      if (upgraded.head.length > 0) socket.write(upgraded.head);
      if (upgrade.head.length > 0) connection.write(upgrade.head);
      const stopWatch = watchIdle(socket, this.#clock, () => connection.destroy());
      await join(socket, connection).finally(stopWatch);
    } finally {
      this.#stopping?.removeEventListener('abort', stop);
      connection.destroy();
    }
  }
}

/** The answer that begins a WebSocket, of what the guest answered. */
function switching(answer: IncomingMessage, context: PortContext): string {
  const lines = ['HTTP/1.1 101 Switching Protocols', 'upgrade: websocket', 'connection: Upgrade'];
  for (const [name, value] of Object.entries(toClientHeaders(answer, context))) {
    if (!/^(?:sec-websocket-|set-cookie$)/.test(name)) continue;
    for (const line of [value].flat()) if (/^[\x20-\x7e]*$/.test(line)) lines.push(`${name}: ${line}`);
  }
  return `${lines.join('\r\n')}\r\n\r\n`;
}
