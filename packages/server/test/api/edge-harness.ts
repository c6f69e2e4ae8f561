// The HTTP server on the fake runtime, with callers that it knows by name instead of a store: for what is about the wire.

import assert from 'node:assert/strict';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';
import { BulkheadError, type Scope, type TenantId, makeId } from '@bulkhead/protocol';
import { Attachments } from '../../src/api/attachments.ts';
import { CallerPorts } from '../../src/api/caller-ports.ts';
import { CallerSessions } from '../../src/api/caller-sessions.ts';
import { Connections } from '../../src/api/connections.ts';
import { portAddresses } from '../../src/api/ports/port-addresses.ts';
import { PortProxy } from '../../src/api/ports/port-proxy.ts';
import { createServer } from '../../src/api/rest/create-server.ts';
import type { Service } from '../../src/api/service.ts';
import { TerminalTokens } from '../../src/api/terminal-tokens.ts';
import { type Clock, systemClock } from '../../src/lib/clock.ts';
import { ExposedPorts } from '../../src/ports/exposed-ports.ts';
import { type FakeMachine, FakeRuntime } from '../../src/runtimes/fake/fake-runtime.ts';
import { Sessions } from '../../src/sessions/sessions.ts';
import type { Caller } from '../../src/tenants/caller.ts';
import { MemoryKeeper } from '../sessions/memory-keeper.ts';

export interface Edge {
  readonly url: string;
  readonly port: number;
  readonly sessions: Sessions;
  readonly tenant: TenantId;
  /** What `authorization` says who. */
  readonly callers: Map<string, Caller>;
  readonly attachments: Attachments;
  machine(): FakeMachine;
  machines(): Iterable<FakeMachine>;
  makeCaller(name: string, caller?: Partial<Caller>): string;
  ask(method: string, path: string, authorization: string, body?: unknown): Promise<Response>;
}

function notThere(): never {
  throw new BulkheadError('not_found', 'There is no such thing.');
}

/** What a test does not reach. */
// oxlint-disable-next-line typescript/no-unsafe-type-assertion -- whatever is asked of it fails
const absent = new Proxy({}, { get: () => notThere }) as never;

export interface EdgeOptions {
  /** Of ports and tokens; sessions go by the system's. */
  readonly clock?: Clock;
  /** In place of some on the fake runtime. */
  readonly sessions?: Sessions;
}

export async function openEdge(context: TestContext, options: EdgeOptions = {}): Promise<Edge> {
  const { clock = systemClock } = options;
  const runtime = new FakeRuntime();
  const sessions = options.sessions ?? new Sessions({ runtimes: [runtime], keeper: new MemoryKeeper() });
  const tenant = makeId('tenant');
  const callers = new Map<string, Caller>();
  const stopping = new AbortController();
  const callerSessions = new CallerSessions({
    sessions,
    stored: absent,
    turns: absent,
  });
  const ports = new ExposedPorts({ sessions, clock });
  const addresses = portAddresses();
  const connections = new Connections();
  const attachments = new Attachments();
  const service: Service = {
    version: '0.0.0',
    tenants: absent,
    keys: absent,
    idempotency: absent,
    authority: absent,
    decisions: absent,
    approvals: absent,
    connections,
    attachments,
    sessions: callerSessions,
    ports: new CallerPorts({ sessions: callerSessions, ports, addresses, terminals: new TerminalTokens(clock) }),
    access: {
      async authenticate(authorization) {
        const caller = callers.get(authorization ?? '');
        if (caller === undefined) throw new BulkheadError('unauthenticated', 'The caller is not known.');
        return caller;
      },
      spend: () => Promise.resolve(),
    },
    runtimes: () => Promise.resolve([]),
    templates: () => Promise.resolve([]),
    readiness: () => ({ status: 'ready', reasons: [] }),
    stopping: stopping.signal,
  };
  const proxy = new PortProxy({
    ports,
    addresses,
    countConnection: (of) => connections.open(of),
    stopping: attachments.closing,
  });
  const app = await createServer(service, { ports: proxy, checkAnswers: true });
  const url = await app.listen({ host: '127.0.0.1', port: 0 });
  context.after(async () => {
    stopping.abort();
    await attachments.close(1000);
    ports[Symbol.dispose]();
    await app.close();
    if (options.sessions === undefined) await sessions.close();
  });
  return {
    url,
    port: (app.server.address() as AddressInfo).port,
    sessions,
    tenant,
    callers,
    attachments,
    machines: () => runtime.machines.values(),
    machine() {
      const [only] = runtime.machines.values();
      assert.ok(only);
      return only;
    },
    makeCaller(name, caller = {}) {
      const scopes: ReadonlySet<Scope> = new Set(['sessions:read', 'sessions:write']);
      callers.set(`Bearer ${name}`, { tenant, subject: name, scopes, key: null, ...caller });
      return `Bearer ${name}`;
    },
    ask: (method, path, authorization, body) =>
      fetch(url + path, {
        method,
        redirect: 'manual',
        headers: { authorization, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      }),
  };
}

/** Waits for a condition, not for a time. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + 5000;
  while (!condition()) {
    if (performance.now() > deadline) assert.fail(`never happened: ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}
