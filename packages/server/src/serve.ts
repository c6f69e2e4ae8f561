// `bulkhead serve`: the service, put together. It listens when the store is open, says that it is ready when sessions can be made, and when it is
// told to stop it lets turns end, puts every session to sleep and goes.

import { Server as HttpsServer } from 'node:https';
import { BulkheadError, limits } from '@bulkhead/protocol';
import type { FastifyInstance } from 'fastify';
import { Attachments } from './api/attachments.ts';
import { CallerApprovals } from './api/caller-approvals.ts';
import { CallerPorts } from './api/caller-ports.ts';
import { CallerSessions } from './api/caller-sessions.ts';
import { Connections } from './api/connections.ts';
import { mountMcp } from './api/mcp/register-mcp.ts';
import { withOwner } from './api/owner-access.ts';
import { portAddresses } from './api/ports/port-addresses.ts';
import { PortProxy } from './api/ports/port-proxy.ts';
import { type Mount, createServer } from './api/rest/create-server.ts';
import { followTls, readTls } from './api/rest/tls.ts';
import type { RuntimeFacts, Service, TemplateFacts } from './api/service.ts';
import { TerminalTokens } from './api/terminal-tokens.ts';
import type { Config } from './config/config.ts';
import { listImages } from './images/image-store.ts';
import type { Keeping } from './keep-sessions.ts';
import { errnoOf } from './lib/errno.ts';
import { systemClock } from './lib/clock.ts';
import { ExposedPorts } from './ports/exposed-ports.ts';
import { Preparation } from './preparation.ts';
import type { Authority } from './open-authority.ts';
import type { Tenancy } from './open-tenancy.ts';
import { announceServer, makeOwnerCredential } from './running-server.ts';
import type { Runtime, RuntimeCapabilities } from './runtimes/runtime.ts';
import { RunningTurns } from './sessions/running-turns.ts';
import type { Sessions, SessionsOptions } from './sessions/sessions.ts';
import type { IssuedApiKey } from './tenants/tenancy.ts';

export interface ServeOptions {
  readonly version: string;
  /** Told while something long is made. */
  readonly onProgress?: (message: string) => void;
  /** Where the log goes, a line at a time. */
  readonly log?: { write(line: string): void };
  /** For tests: an answer that is not what the table says is an error. */
  readonly checkAnswers?: boolean;
}

/** What a server works with, opened so that all of it is kept. */
export interface Served extends AsyncDisposable {
  readonly runtimes: readonly Runtime[];
  /** The one that a session gets which asks for nothing. */
  readonly runtime: Runtime;
  readonly sessions: Sessions;
  readonly keeping: Keeping | undefined;
  readonly tenancy: Tenancy | undefined;
  readonly authority: Authority | undefined;
}
export type OpenServed = (options: {
  readonly keep: true;
  readonly launchWaitMaxMs: number;
  readonly onTransition: NonNullable<SessionsOptions['onTransition']>;
}) => Promise<Served>;

/** A server that listens. Disposing it drains it. */
export interface RunningServer extends AsyncDisposable {
  /** Where it listens. */
  readonly url: string;
  /** On the first start: a tenant and its key, which nobody can be told again. */
  readonly first: IssuedApiKey | undefined;
  /** When sessions can be made, for the first time; never rejects. */
  readonly ready: Promise<void>;
  readonly service: Service;
  readonly sessions: Sessions;
  /** Takes no more, lets turns that run end for as long as is configured, puts sessions to sleep. Idempotent. */
  close(): Promise<void>;
}

/** What is answered while it stops has this long to arrive, first of all the ends of turns; what never ends by itself is told to. */
const lastEndsMs = 1000;
const lastAnswersMs = 5000;
/** A terminal that is told to end has this long. */
const detachMs = 5000;

/** Errors: `config_invalid` when it cannot listen there; those of `open`. */
export async function serve(config: Config, open: OpenServed, options: ServeOptions): Promise<RunningServer> {
  const { onProgress = (): void => undefined, version, log, checkAnswers = false } = options;
  await using opening = new AsyncDisposableStack();
  const running = new RunningTurns(systemClock);
  const served = opening.use(
    await open({
      keep: true,
      launchWaitMaxMs: limits.launchWaitMaxMs,
      onTransition: (_before, after) => running.show(after),
    }),
  );
  const { sessions, keeping, tenancy, authority } = served;
  if (keeping === undefined || tenancy === undefined || authority === undefined) {
    throw new TypeError('the service keeps what it does');
  }
  const { tls: files, peerUrl, logLevel, trustProxy, corsOrigins, host, port, drainMs } = config.server;
  const tls = files === undefined ? undefined : await readTls(files);
  const first = await tenancy.ensureFirstTenant();
  const preparation = opening.use(
    new Preparation({ runtime: served.runtime, askStore: () => tenancy.tenants.list({ limit: 1 }), onProgress }),
  );
  const stopping = new AbortController();
  const callerSessions = new CallerSessions({ sessions, stored: keeping.sessions, turns: keeping.turns });
  const credential = makeOwnerCredential();
  const connections = new Connections();
  const attachments = new Attachments();
  const ports = opening.use(new ExposedPorts({ sessions }));
  const addresses = portAddresses(config.server);
  const service: Service = {
    version,
    sessions: callerSessions,
    ports: new CallerPorts({ sessions: callerSessions, ports, addresses, terminals: new TerminalTokens() }),
    attachments,
    access: withOwner(tenancy.access, credential),
    tenants: tenancy.tenants,
    keys: tenancy.keys,
    idempotency: tenancy.idempotency,
    authority: authority.tenants,
    decisions: authority.decisions,
    approvals: new CallerApprovals(authority.approvals),
    connections,
    runtimes: async () => served.runtimes.map(({ capabilities }) => factsOf(capabilities)),
    templates: () => templatesOf(config),
    readiness: () => preparation.readiness,
    stopping: stopping.signal,
  };
  const app = await createServer(service, {
    ...(log === undefined ? {} : { log: { level: logLevel, stream: log } }),
    ...(tls === undefined ? {} : { tls }),
    ...(trustProxy.length === 0 ? {} : { trustProxy }),
    ...(corsOrigins.length === 0 ? {} : { cors: { origins: corsOrigins } }),
    mounts: mountsOf(config),
    ports: new PortProxy({
      ports,
      addresses,
      countConnection: (tenant) => connections.open(tenant),
      stopping: attachments.closing,
    }),
    checkAnswers,
  });
  const inFlight = new InFlight(app);
  const url = await listen(app, host, port);
  opening.defer(() => app.close());
  if (files !== undefined) opening.use(followTls(app.server, files, (err) => app.log.error({ err }, 'certificate')));
  if (peerUrl !== undefined) await keeping.store.hosts.advertise(peerUrl);
  const announced = opening.use(await announceServer(config.stateDir, { url: urlHere(url, config), credential }));
  const opened = opening.move();
  const close = async (): Promise<void> => {
    preparation.stop();
    app.server.close();
    app.server.closeIdleConnections();
    await announced[Symbol.asyncDispose]();
    app.log.info({ turns: running.count }, 'stopping');
    const ended = await running.none(drainMs, new AbortController().signal);
    if (!ended) app.log.warn({ turns: running.count }, 'turns are ended that were given time to end');
    await attachments.close(detachMs);
    await authority.approvals.stop();
    await sessions.close();
    // Whoever reads a turn has its end to read yet.
    await inFlight.none(lastEndsMs);
    stopping.abort();
    await inFlight.none(lastAnswersMs);
    await opened.disposeAsync();
  };
  let closing: Promise<void> | undefined;
  const closeOnce = (): Promise<void> => (closing ??= close());
  const { ready } = preparation;
  return { url, first, ready, service, sessions, close: closeOnce, [Symbol.asyncDispose]: closeOnce };
}

/** Where commands of this host reach it: nothing leaves the host, unless only another name is in the certificate. */
function urlHere(listening: string, { server: { tls, publicUrl } }: Pick<Config, 'server'>): string {
  if (tls !== undefined && publicUrl !== undefined) return publicUrl;
  const url = new URL(listening);
  if (url.hostname === '0.0.0.0') url.hostname = '127.0.0.1';
  if (url.hostname === '[::]') url.hostname = '[::1]';
  return url.origin;
}

/** What is no plain request and answer. */
function mountsOf({ server }: Config): readonly Mount[] {
  const { hostNames, publicUrl, corsOrigins } = server;
  const own = publicUrl === undefined ? [] : [new URL(publicUrl).hostname];
  return [mountMcp({ hostNames: [...hostNames, ...own], origins: corsOrigins })];
}

/** Errors: `config_invalid`. */
async function listen(app: FastifyInstance, host: string, port: number): Promise<string> {
  try {
    await app.listen({ host, port, listenTextResolver: () => 'listening' });
    return urlOf(app);
  } catch (error) {
    const why = errnoOf(error);
    if (why === undefined) throw error;
    const message = `It cannot listen on ${host} port ${port}: ${why}.`;
    throw new BulkheadError('config_invalid', message, {
      hint: 'Choose another with BULKHEAD_HOST and BULKHEAD_PORT, or with --host and --port.',
      cause: error,
    });
  }
}

function urlOf({ server }: FastifyInstance): string {
  const address = server.address();
  if (typeof address !== 'object' || address === null) throw new TypeError('It listens on no port.');
  const host = address.family === 'IPv6' ? `[${address.address}]` : address.address;
  return `${server instanceof HttpsServer ? 'https' : 'http'}://${host}:${address.port}`;
}

function factsOf({ runtime, tier, accelerator, memorySuspend, fork, network }: RuntimeCapabilities): RuntimeFacts {
  return { runtime, tier, accelerator, memorySuspend, fork, network };
}

async function templatesOf({ cacheDir }: Config): Promise<readonly TemplateFacts[]> {
  return (await listImages(cacheDir)).map(({ digest, manifest }) => ({
    digest,
    kernelVersion: manifest.kernelVersion,
    builtAt: manifest.createdAt,
    packageCount: manifest.packages.length,
  }));
}

/** Requests that are being answered. */
class InFlight {
  #count = 0;
  #changed = Promise.withResolvers<void>();

  constructor(app: FastifyInstance) {
    app.server.on('request', (_request, response) => {
      this.#count += 1;
      response.once('close', () => {
        this.#count -= 1;
        this.#changed.resolve();
        this.#changed = Promise.withResolvers();
      });
    });
  }

  /** Until there is none, or for as long. */
  async none(timeoutMs: number): Promise<void> {
    const late = Promise.withResolvers<'late'>();
    const timer = setTimeout(() => late.resolve('late'), timeoutMs);
    while (this.#count > 0) if ((await Promise.race([this.#changed.promise, late.promise])) === 'late') break;
    clearTimeout(timer);
  }
}
