// The proxy that a session reaches the network through. It runs here, not in the guest: what comes from there are bytes of a client, and every rule
// is kept on this side. CONNECT leads to TLS and to nothing else, a request with an absolute URL to HTTP without TLS.

import { type IncomingMessage, STATUS_CODES, type Server, type ServerResponse, createServer } from 'node:http';
import type { Duplex } from 'node:stream';
import { BulkheadError, type EgressScheme } from '@bulkhead/protocol';
import type { Clock } from '../lib/clock.ts';
import { egressError, errorResponse } from './egress-error.ts';
import { egressLimits } from './egress-limits.ts';
import type { EgressGate, EgressPermit, EgressTarget } from './gate.ts';
import { type Authority, parseAuthority } from './host-name.ts';
import { forward, readTarget } from './plain-http.ts';
import { Pace } from './pace.ts';
import type { Resolver } from './resolver.ts';
import { tunnelTls } from './tls-tunnel.ts';
import { type Upstream, connectUpstream } from './upstream.ts';

export interface EgressProxyOptions {
  readonly gate: EgressGate;
  readonly resolver: Resolver;
  readonly clock: Clock;
}

export class EgressProxy {
  readonly #options: EgressProxyOptions;
  readonly #server: Server;
  readonly #pace: Pace;
  /** For each connection that is waiting for its next request: how to stop waiting. */
  readonly #waiting = new WeakMap<Duplex, () => void>();
  readonly #busy = new WeakSet<Duplex>();

  constructor(options: EgressProxyOptions) {
    this.#options = options;
    this.#pace = new Pace(options.clock, {
      perSecond: egressLimits.decisionsPerSecond,
      atOnceMaxCount: egressLimits.decisionsAtOnceMaxCount,
      waitingMaxCount: egressLimits.decisionsWaitingMaxCount,
    });
    this.#server = createServer({
      maxHeaderSize: egressLimits.headMaxBytes,
      insecureHTTPParser: false,
      keepAliveTimeout: 0,
      // Looked at with the target, and on record when it is missing.
      requireHostHeader: false,
    });
    // Nothing listens: connections are handed in, and their times are kept here.
    this.#server.on('connect', (incoming, client, head) => void this.#connect(incoming, client, head));
    this.#server.on('request', (incoming, response) => void this.#request(incoming, response));
    this.#server.on('checkContinue', (incoming, response) => {
      response.writeContinue();
      void this.#request(incoming, response);
    });
    this.#server.on('clientError', (_, client: Duplex) => void this.#misunderstood(client));
  }

  /** A connection from a client in the guest; it is this proxy's from here on. */
  serve(client: Duplex): void {
    client.on('error', () => {});
    client.once('close', () => this.#stopWaiting(client));
    this.#await(client);
    this.#server.emit('connection', client);
  }

  #await(client: Duplex): void {
    this.#stopWaiting(client);
    if (client.destroyed) return;
    const { requestWaitMs, lingerMs } = egressLimits;
    const waitMs = client.writableEnded ? lingerMs : requestWaitMs;
    this.#waiting.set(
      client,
      this.#options.clock.after(waitMs, () => client.destroy()),
    );
  }

  #stopWaiting(client: Duplex): void {
    this.#waiting.get(client)?.();
    this.#waiting.delete(client);
  }

  /** What is no HTTP is on record too, as an attempt to reach nothing. */
  async #misunderstood(client: Duplex): Promise<void> {
    this.#stopWaiting(client);
    if (client.destroyed || !client.writable) {
      client.destroy();
      return;
    }
    this.#refuseRaw(client, await this.#refuse());
  }

  /** Where there is no response to write to. */
  #refuseRaw(client: Duplex, error: unknown): void {
    if (client.destroyed) return;
    const { status, headers, body } = errorResponse(error);
    const lines = Object.entries({ ...headers, 'content-length': String(Buffer.byteLength(body)) });
    const head = lines.map(([name, value]) => `${name}: ${value}\r\n`).join('');
    client.end(`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n${head}\r\n${body}`);
    client.resume();
    this.#await(client);
  }

  async #refuse(): Promise<unknown> {
    return await this.#admit(undefined).then(
      () => egressError('internal', 'Bulkhead failed.'),
      (error: unknown) => error,
    );
  }

  /** In its turn: each is on record, so there are only so many. */
  async #admit(target: EgressTarget | undefined): Promise<EgressPermit> {
    if (await this.#pace.turn()) return await this.#options.gate.admit(target);
    throw egressError('connections', 'The session asks for more connections than it may at once.');
  }

  async #connect({ url = '' }: IncomingMessage, client: Duplex, head: Buffer): Promise<void> {
    this.#stopWaiting(client);
    const target = parseAuthority(url);
    if (target === undefined) {
      this.#refuseRaw(client, await this.#refuse());
      return;
    }
    let begun = false;
    try {
      await this.#carry('https', target, undefined, client, async (upstream) => {
        begun = true;
        client.write('HTTP/1.1 200 Connection established\r\n\r\n');
        if (head.length > 0) client.unshift(head);
        await tunnelTls(client, upstream, target.host, this.#options.clock);
      });
    } catch (error) {
      if (begun) client.destroy();
      else this.#refuseRaw(client, error);
    }
  }

  async #request(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const client: Duplex = incoming.socket;
    if (this.#busy.has(client)) {
      // A second request before the answer to the first: no client needs to, and each could be the start of a hundred.
      client.destroy();
      return;
    }
    this.#stopWaiting(client);
    this.#busy.add(client);
    response.on('error', () => {});
    response.once('close', () => {
      this.#busy.delete(client);
      this.#await(client);
    });
    const target = readTarget(incoming);
    if (target === undefined) {
      refuse(response, await this.#refuse());
      return;
    }
    try {
      await this.#carry('http', target, incoming.method, response, (upstream) =>
        forward(incoming, response, target, upstream),
      );
    } catch (error) {
      if (response.headersSent) client.destroy();
      else refuse(response, error);
    }
  }

  /** From the decision to the end of its record. `client` that closes ends it. */
  async #carry(
    scheme: EgressScheme,
    { host, port }: Authority,
    method: string | undefined,
    client: Duplex | ServerResponse,
    use: (upstream: Upstream) => Promise<void>,
  ): Promise<void> {
    const permit = await this.#admit({ scheme, host, port, ...(method === undefined ? {} : { method }) });
    let upstream: Upstream | undefined;
    let failure: BulkheadError | undefined;
    const leave = (): unknown => upstream?.destroy();
    client.once('close', leave);
    try {
      if (client.destroyed) return;
      upstream = await connectUpstream({ host, port }, permit.bounds, this.#options);
      if (!client.destroyed) await use(upstream);
    } catch (error) {
      // The connection knows best what ended it; a client that has left is no failure.
      const known = [upstream?.errored, error].find((each) => BulkheadError.is(each));
      failure = known ?? (client.destroyed ? undefined : egressError('broken', 'The connection broke.', error));
      throw failure ?? error;
    } finally {
      client.off('close', leave);
      upstream?.destroy();
      await permit.end(failure);
    }
  }
}

function refuse(response: ServerResponse, error: unknown): void {
  const { status, headers, body } = errorResponse(error);
  response.writeHead(status, headers).end(body);
}
