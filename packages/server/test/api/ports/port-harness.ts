// A server that answers for ports and for nothing else, before a session of the fake runtime with an HTTP server in it.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import {
  type IncomingHttpHeaders,
  type IncomingMessage,
  type RequestListener,
  type RequestOptions,
  type Server,
  type ServerResponse,
  createServer,
  request as httpRequest,
} from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { buffer } from 'node:stream/consumers';
import type { TestContext } from 'node:test';
import { type TenantId, makeId } from '@bulkhead/protocol';
import { portAddresses } from '../../../src/api/ports/port-addresses.ts';
import { PortProxy } from '../../../src/api/ports/port-proxy.ts';
import { ExposedPorts } from '../../../src/ports/exposed-ports.ts';
import { type FakeMachine, FakeRuntime } from '../../../src/runtimes/fake/fake-runtime.ts';
import { SteppedClock } from '../../../src/runtimes/fake/stepped-clock.ts';
import { type SessionHandle, Sessions } from '../../../src/sessions/sessions.ts';
import { MemoryKeeper } from '../../sessions/memory-keeper.ts';

export const guestPort = 8000;

export interface PortHarness {
  /** Of ports and proxy; sessions go by the system's. */
  readonly clock: SteppedClock;
  readonly tenant: TenantId;
  readonly sessions: Sessions;
  readonly session: SessionHandle;
  readonly ports: ExposedPorts;
  readonly server: Server;
  readonly port: number;
  /** The session's machine of this moment. */
  machine(): FakeMachine;
  /** What answers in the session. */
  serve(handler: RequestListener): Server;
  readonly stopping: AbortController;
}

export async function openPortHarness(context: TestContext, portsUrl?: string): Promise<PortHarness> {
  const clock = new SteppedClock();
  const runtime = new FakeRuntime();
  const sessions = new Sessions({ runtimes: [runtime], keeper: new MemoryKeeper() });
  const tenant = makeId('tenant');
  const session = await sessions.createSession({ tenant });
  const ports = new ExposedPorts({ sessions, clock });
  const stopping = new AbortController();
  const proxy = new PortProxy({ ports, addresses: portAddresses({ portsUrl }), clock, stopping: stopping.signal });
  const server = createServer((request, response) => {
    if (proxy.isForPort(request)) void proxy.handle(request, response);
    else response.writeHead(418).end('not for a port');
  });
  server.on('upgrade', (request, socket, head) => void proxy.upgrade(request, socket, head));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  context.after(async () => {
    ports[Symbol.dispose]();
    server.closeAllConnections();
    server.close();
    await sessions.close();
  });
  const machine = (): FakeMachine => {
    const [only] = runtime.machines.values();
    assert.ok(only);
    return only;
  };
  const { port } = server.address() as AddressInfo;
  const serve = (handler: RequestListener): Server => {
    const guest = createServer(handler);
    machine().guest.connections.servers.set(guestPort, (socket) => guest.emit('connection', socket));
    return guest;
  };
  return { clock, tenant, sessions, session, ports, server, port, machine, serve, stopping };
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

export function startRequest(harness: PortHarness, options: RequestOptions, body?: Buffer): Promise<IncomingMessage> {
  const answered = Promise.withResolvers<IncomingMessage>();
  const sent = httpRequest({ host: '127.0.0.1', port: harness.port, agent: false, ...options });
  sent.once('response', answered.resolve);
  sent.once('error', answered.reject);
  sent.end(body);
  return answered.promise;
}

export async function ask(
  harness: PortHarness,
  path: string,
  headers: Record<string, string> = {},
  options: RequestOptions & { readonly body?: string } = {},
): Promise<Answer> {
  const { body, ...rest } = options;
  const answer = await startRequest(
    harness,
    { path, headers, ...rest },
    body === undefined ? undefined : Buffer.from(body),
  );
  const content = await buffer(answer);
  return { status: answer.statusCode ?? 0, headers: answer.headers, body: content.toString() };
}

/** Bytes as they are, and all that comes back until the server closes. */
export async function sendRaw(harness: PortHarness, bytes: string): Promise<string> {
  const socket = connect(harness.port, '127.0.0.1');
  socket.on('error', () => undefined);
  socket.write(bytes);
  socket.setTimeout(5000, () => socket.destroy(new Error('the server did not close')));
  return (await buffer(socket)).toString();
}

/** Waits for a condition, not for a time. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + 5000;
  while (!condition()) {
    if (performance.now() > deadline) assert.fail(`never happened: ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** A server in the session that says what it was asked, and a port to it. */
export async function openEcho(context: TestContext, portsUrl?: string): Promise<PortHarness & Exposed> {
  const harness = await openPortHarness(context, portsUrl);
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { method, url, headers } = request;
    const body = (await buffer(request)).toString();
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ method, url, headers, body }));
  };
  harness.serve((request, response) => void answer(request, response));
  return { ...harness, ...expose(harness) };
}

export interface Exposed {
  readonly token: string;
  readonly path: string;
  readonly id: string;
  readonly auth: { readonly 'x-bulkhead-port-token': string };
}

export function expose(harness: PortHarness, expiresInSeconds = 60): Exposed {
  const { exposed, token } = harness.ports.expose(harness.tenant, harness.session.id, {
    port: guestPort,
    expiresInSeconds,
  });
  return { token, id: exposed.id, path: `/p/${exposed.id}`, auth: { 'x-bulkhead-port-token': token } };
}

export interface Echo {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}
