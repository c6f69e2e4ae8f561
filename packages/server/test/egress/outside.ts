// What lies outside of a session, for tests: servers on loopback that know what has reached them, names that lead to them, and a session whose proxy is
// at hand without a machine.

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { type RequestListener, createServer as createHttpServer } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { type Server, type Socket, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Duplex, duplexPair } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { connect as connectTls } from 'node:tls';
import {
  type DecisionId,
  type ErrorJson,
  type TenantId,
  type ToolSettings,
  makeId,
  toolSettingsSchema,
} from '@bulkhead/protocol';
import { writeCedarSchema } from '../../src/authority/cedar-schema.ts';
import type { Decision } from '../../src/authority/decision-point.ts';
import { PolicyEngine } from '../../src/authority/policy-engine.ts';
import { readPolicySet } from '../../src/authority/policy-set.ts';
import type { Resolver } from '../../src/egress/resolver.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { FakeGuest } from '../../src/runtimes/fake/fake-guest.ts';
import { FakeRuntime } from '../../src/runtimes/fake/fake-runtime.ts';
import type { Transferred } from '../../src/sessions/egress-use.ts';
import { type EgressLog, SessionEgress } from '../../src/sessions/session-egress.ts';
import { attachAll } from '../../src/sessions/session-tools.ts';
import { ToolCalls } from '../../src/sessions/tool-calls.ts';
import { Sessions } from '../../src/sessions/sessions.ts';
import { openTool } from '../../src/tools/tool-kinds.ts';
import type { Tool } from '../../src/tools/tool.ts';

export const hasOpenssl: boolean = spawnSync('openssl', ['version']).status === 0;

export interface Receiver extends AsyncDisposable {
  readonly port: number;
  /** Connections that have come, and bytes that have on any of them, TLS and all. */
  readonly seen: { readonly connections: number; readonly bytes: number };
  /** Of requests that were understood: method, `Host` and target. */
  readonly requests: string[];
}

export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

/** Its own authority, for these names. */
export function makeCertificate(names: readonly string[]): Certificate {
  const root = mkdtempSync(join(tmpdir(), 'bulkhead-outside-'));
  try {
    const [cert, key] = [join(root, 'crt'), join(root, 'key')];
    const subject = ['-subj', '/CN=outside', '-addext', `subjectAltName=${names.map((name) => `DNS:${name}`).join()}`];
    const made = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
    execFileSync('openssl', [...made, '-keyout', key, '-out', cert, ...subject], { stdio: 'ignore' });
    return { cert: readFileSync(cert, 'utf8'), key: readFileSync(key, 'utf8') };
  } finally {
    rmSync(root, { recursive: true });
  }
}

export async function openReceiver(
  certificate?: Certificate & { readonly curves?: string },
  answer: RequestListener = (_, response) => response.end('hello from outside'),
): Promise<Receiver> {
  const requests: string[] = [];
  const listener: RequestListener = (incoming, response) => {
    requests.push(`${incoming.method} ${incoming.headers.host} ${incoming.url}`);
    answer(incoming, response);
  };
  const behind: Server =
    certificate === undefined
      ? createHttpServer(listener)
      : createHttpsServer(
          { ...certificate, ...(certificate.curves === undefined ? {} : { ecdhCurve: certificate.curves }) },
          listener,
        );
  behind.on('tlsClientError', () => {});
  await listen(behind);
  const sockets = new Set<Socket>();
  const seen = { connections: 0, bytes: 0 };
  // What counts stands in front of what understands, so that nothing is missed.
  const front = createServer((socket) => {
    seen.connections += 1;
    const inner = connect({ host: '127.0.0.1', port: portOf(behind) });
    for (const each of [socket, inner]) {
      sockets.add(each);
      each.on('error', () => {});
    }
    socket.on('data', (chunk: Buffer) => (seen.bytes += chunk.length));
    pipeline(socket, inner, socket).catch(() => undefined);
  });
  await listen(front);
  return {
    port: portOf(front),
    requests,
    seen,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      for (const server of [front, behind]) await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function listen(server: Server): Promise<void> {
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
}

function portOf(server: Server): number {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('it does not listen on a port');
  return address.port;
}

/** Knows these names and no others, and counts what it is asked. */
export function resolverOf(names: Readonly<Record<string, readonly string[] | (() => readonly string[])>>): Resolver & {
  readonly asked: string[];
} {
  const asked: string[] = [];
  return {
    asked,
    async resolve(host) {
      asked.push(host);
      const found = names[host] ?? [];
      return typeof found === 'function' ? found() : found;
    },
  };
}

export interface Recorded {
  readonly id: DecisionId;
  readonly action: string;
  readonly outcome: string;
  readonly reason: string;
  readonly context: unknown;
  error?: string | null;
  transferred?: Transferred | undefined;
}

/** A record in memory. */
export class RecordedDecisions implements EgressLog {
  readonly all: Recorded[] = [];

  async begin(_: unknown, { id, action, outcome, reason, request }: Decision): Promise<void> {
    this.all.push({ id, action, outcome, reason, context: request.context });
  }

  async refuse(_: unknown, id: DecisionId, action: string, reason: string): Promise<void> {
    this.all.push({ id, action, outcome: 'deny', reason, context: undefined });
  }

  async end(_: unknown, id: DecisionId, error: ErrorJson | null, transferred?: Transferred): Promise<void> {
    const entry = this.all.find((each) => each.id === id);
    if (entry !== undefined) Object.assign(entry, { error: error?.code ?? null, transferred });
  }

  async transferred(_: unknown, action: string): Promise<number> {
    return this.all
      .filter((each) => each.action === action)
      .reduce((sum, { transferred }) => sum + (transferred?.sentBytes ?? 0) + (transferred?.receivedBytes ?? 0), 0);
  }
}

export type Rules = Readonly<Record<string, Record<string, unknown>>>;

/** Rules as tools, with policies that allow everything, or these. */
export async function openRules(rules: Rules, policies?: string) {
  const tools = new Map<string, Tool>();
  for (const [name, change] of Object.entries(rules)) {
    const settings: ToolSettings = toolSettingsSchema.parse({ kind: 'egress', description: name, ...change });
    tools.set(name, await openTool(name, settings, { secret: () => Promise.reject(new Error('none')) }));
  }
  const text = policies ?? '@id("all") permit(principal, action, resource);';
  const schema = writeCedarSchema([...tools.values()].map(({ description }) => description));
  return { tenantName: 'acme', tools, policies: readPolicySet(text, schema) };
}

export interface Way extends AsyncDisposable {
  readonly log: RecordedDecisions;
  readonly tenant: TenantId;
  /** In place of the rules and policies so far. */
  change(rules: Rules, policies?: string): Promise<void>;
  /** As a client in the guest, connected to the proxy. */
  connect(): Duplex;
  readonly isOpen: boolean;
}

export async function openWay(
  rules: Rules,
  resolver: Resolver,
  {
    policies,
    grant = Object.keys(rules).map((name) => `${name}.connect`),
  }: { readonly policies?: string; readonly grant?: readonly string[] } = {},
): Promise<Way> {
  let source = await openRules(rules, policies);
  const log = new RecordedDecisions();
  const runtime = new FakeRuntime({ clock: systemClock });
  const options = {
    engine: new PolicyEngine(),
    source: { of: () => Promise.resolve(source) },
    log,
    clock: systemClock,
    region: 'here',
  };
  const tools = attachAll(new ToolCalls(options), new SessionEgress({ ...options, resolver }));
  const sessions = new Sessions({ runtimes: [runtime], tools });
  const tenant = makeId('tenant');
  await sessions.createSession({ tenant, grant });
  const guest = [...runtime.machines.values()].at(-1)?.guest;
  const clients: Duplex[] = [];
  return {
    log,
    tenant,
    change: async (changed, text) => void (source = await openRules(changed, text)),
    get isOpen() {
      return guest?.egress !== undefined;
    },
    connect() {
      const [ours, theirs] = duplexPair();
      ours.on('error', () => {});
      clients.push(ours, theirs);
      // As the channel does it: who has closed has closed.
      ours.once('close', () => theirs.destroy());
      if (guest?.egress === undefined) throw new Error('there is no way out');
      guest.egress(theirs);
      return ours;
    },
    async [Symbol.asyncDispose]() {
      for (const client of clients) client.destroy();
      await sessions[Symbol.asyncDispose]();
    },
  };
}

/** Reads to the end of what comes back, or of its head. */
export async function readHead(client: Duplex): Promise<string> {
  let text = '';
  for (;;) {
    const chunk: Buffer | null = client.read() as Buffer | null;
    if (chunk === null) {
      if (client.readableEnded || client.destroyed) return text;
      await new Promise<void>((resolve) => {
        for (const event of ['readable', 'end', 'close', 'error']) client.once(event, () => resolve());
      });
      continue;
    }
    text += chunk.toString('latin1');
    const end = text.indexOf('\r\n\r\n');
    if (end < 0) continue;
    client.unshift(Buffer.from(text.slice(end + 4), 'latin1'));
    return text.slice(0, end);
  }
}

export async function readAll(client: Duplex): Promise<string> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of client) chunks.push(chunk as Buffer);
  } catch {
    // It was cut; what came before came.
  }
  return Buffer.concat(chunks).toString('latin1');
}

/** CONNECT, and what the proxy said to it. */
export async function askTunnel(
  way: Way,
  target: string,
): Promise<{ readonly client: Duplex; readonly status: number; readonly head: string }> {
  const client = way.connect();
  client.write(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`);
  const head = await readHead(client);
  return { client, head, status: Number(head.split(' ')[1] ?? 0) };
}

/** A request within TLS through a tunnel: the whole answer, or undefined when the connection was cut before there was one. */
export async function askTls(
  way: Way,
  target: string,
  {
    ca,
    servername = target.split(':')[0] ?? '',
    request = `GET / HTTP/1.1\r\nHost: ${servername}\r\nConnection: close\r\n\r\n`,
    ...more
  }: Record<string, unknown> & {
    readonly ca?: string;
    readonly servername?: string;
    readonly request?: string;
  },
): Promise<string | undefined> {
  const { client, status } = await askTunnel(way, target);
  if (status !== 200) return undefined;
  const tls = connectTls({
    socket: client,
    servername,
    ...(ca === undefined ? {} : { ca }),
    checkServerIdentity: () => undefined,
    ...more,
  });
  const connected = await new Promise<boolean>((resolve) => {
    tls.once('secureConnect', () => resolve(true));
    tls.once('error', () => resolve(false));
    tls.once('close', () => resolve(false));
  });
  if (!connected) return undefined;
  tls.write(request);
  const answer = await readAll(tls);
  client.destroy();
  return answer;
}

export async function askPlain(way: Way, request: string): Promise<string> {
  const client = way.connect();
  client.write(request);
  return await readAll(client);
}

/** What comes back for bytes that are sent to the proxy of a guest that has one. */
export async function askThrough(guest: object, request: string): Promise<string> {
  if (!(guest instanceof FakeGuest) || guest.egress === undefined) throw new Error('there is no way out');
  const [ours, theirs] = duplexPair();
  ours.on('error', () => {});
  guest.egress(theirs);
  ours.write(request);
  const answer = await readAll(ours);
  ours.destroy();
  theirs.destroy();
  return answer;
}
