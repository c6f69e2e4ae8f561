// The package's entry, and the one place where everything is put together: which runtime, on which host, with which images.
// What is heavy or not needed by every command is loaded when it is asked for.

import type { ImportRequest, ImportedTool } from './tools/http/import-openapi.ts';
import type { TenantId, Tier } from '@bulkhead/protocol';
import type { Config } from './config/config.ts';
import type { AcceleratorFinding } from './doctor/check-accelerator.ts';
import type { Doctor } from './doctor/doctor.ts';
import type { Keeping } from './keep-sessions.ts';
import { openQemuRuntime, openRuntimes } from './open-runtimes.ts';
import type { OfflinePolicies } from './offline-policies.ts';
import type { Authority } from './open-authority.ts';
import type { Tenancy, TenancyOptions } from './open-tenancy.ts';
import { planHost } from './plan-host.ts';
import type { Absence, Minima } from './placement/place.ts';
import type { Runtime } from './runtimes/runtime.ts';
import type { RunningServer, ServeOptions } from './serve.ts';
import type { ServeMcpOptions } from './serve-mcp.ts';
import { Sessions, type SessionsOptions } from './sessions/sessions.ts';

export { type Config, type Environment, environmentHelp, loadConfig } from './config/config.ts';
export type { Doctor } from './doctor/doctor.ts';
export type { CheckStatus, HostCheck, HostReport } from './doctor/host-report.ts';
export type { ExecRequest, FileEntry, FileStat, Guest, GuestExec } from './guest/guest.ts';
export { type Clock, systemClock } from './lib/clock.ts';
export { type PlanRequest, planHost } from './plan-host.ts';
export { type OpenedRuntimes, openRuntimes, tryRuntimes } from './open-runtimes.ts';
export type {
  LaunchSpec,
  LaunchTimings,
  Machine,
  MachineExit,
  MachineRecord,
  RestoreOptions,
  Runtime,
  RuntimeCapabilities,
  SnapshotFacts,
  SnapshotSource,
  SnapshotTarget,
  SpareMachine,
} from './runtimes/runtime.ts';
export type { Keeping } from './keep-sessions.ts';
export type { Absence, Candidate, Minima, Plan } from './placement/place.ts';
export type { Page, PageRequest } from './lib/page.ts';
export type { Authority } from './open-authority.ts';
export type { Reconciled, Tenancy } from './open-tenancy.ts';
export type { Caller } from './tenants/caller.ts';
export {
  approvalDetail,
  approvalResource,
  authorityResource,
  changesPage,
  checkpointResource,
  decisionResource,
  explanationResource,
  keyResource,
  sessionResource,
  tenantResource,
} from './api/rest/represent.ts';
export type { NamedTool, OfflinePolicies, PolicyTestResult, PolicyTests } from './offline-policies.ts';
export { destroySecret, writeSecret } from './lib/key-file.ts';
export { readOwnerFile } from './lib/owner-file.ts';
export { type ServerNearby, announceServer, findServerNearby } from './running-server.ts';
export { localTenant } from './tenants/local-tenant.ts';
export { owner } from './api/owner-access.ts';
export type {
  Access,
  Answer,
  ApiKey,
  ApiKeyRequest,
  ApiKeys,
  Idempotency,
  IssuedApiKey,
  Tenant,
  TenantChange,
  Tenants,
} from './tenants/tenancy.ts';
export { type SessionFilter, type SessionHost, toSessionRow } from './sessions/stored-sessions.ts';
export type { StoredTurn, TurnEventPage } from './sessions/stored-turns.ts';
export type { RunningServer, ServeOptions } from './serve.ts';
export type { KeptSnapshot } from './sessions/session-journal.ts';
export type { SessionRecord } from './sessions/session-record.ts';
export type { SessionGuest } from './sessions/session-guest.ts';
export {
  type CreateSessionOptions,
  type CreateSessionRequest,
  type ForkSessionOptions,
  type SessionHandle,
  Sessions,
  type SessionsOptions,
} from './sessions/sessions.ts';
export type { Turn } from './sessions/turn.ts';

/** Bulkhead in this process. Disposing it terminates every session and closes the runtime. */
export interface Bulkhead extends AsyncDisposable {
  readonly config: Config;
  /** Those that can be used here, in the order of preference. */
  readonly runtimes: readonly Runtime[];
  /** Those that cannot, and why. */
  readonly absences: readonly Absence[];
  /** The one that a session gets which asks for nothing. */
  readonly runtime: Runtime;
  readonly sessions: Sessions;
  /** With `keep`: what was found when it was opened, and what is kept. */
  readonly keeping: Keeping | undefined;
  /** With `keep`: tenants, their keys and what callers may do. */
  readonly tenancy: Tenancy | undefined;
  /** With `keep`: what sessions may reach beyond their machine. */
  readonly authority: Authority | undefined;
}

export interface OpenOptions {
  /** Sessions are kept beyond this process: closing suspends them. */
  readonly keep?: boolean;
  readonly onTransition?: SessionsOptions['onTransition'];
  readonly launchWaitMaxMs?: SessionsOptions['launchWaitMaxMs'];
  /** The least that a tenant's sessions are isolated by; none unless said. The host's own is in the configuration. */
  readonly minimumTierOf?: (tenant: TenantId) => Tier | undefined;
}

/** Errors: `host_unsupported` when this host cannot run the configured runtime; with `keep`, `data_dir_busy`, `store_unavailable`, `key_unavailable`. */
export async function openBulkhead(config: Config, options: OpenOptions = {}): Promise<Bulkhead> {
  await using opening = new AsyncDisposableStack();
  const { onTransition, launchWaitMaxMs, minimumTierOf, keep = false } = options;
  const keeping = keep ? opening.use(await openKeeping(config)) : undefined;
  const authority = keeping === undefined ? undefined : opening.use(await openTools(config, keeping));
  const { all: runtimes, absences, first: runtime } = opening.use(await openRuntimes(config));
  await Promise.all(runtimes.map((opened) => opened.sweep()));
  const sessions = opening.use(
    new Sessions({
      runtimes,
      absences,
      minimaOf: (tenant) => minimaOf(config.minimumTier, minimumTierOf?.(tenant)),
      pool: config.pool,
      ...(keeping === undefined ? {} : { journal: keeping.journal, keeper: keeping.snapshots }),
      ...(authority === undefined ? {} : { tools: authority.calls }),
      ...(onTransition === undefined ? {} : { onTransition }),
      ...(launchWaitMaxMs === undefined ? {} : { launchWaitMaxMs }),
    }),
  );
  if (authority !== undefined) opening.defer(() => authority.approvals.stop());
  for (const record of keeping?.recovery.sessions ?? []) sessions.takeUp(record);
  const tenancy = keeping === undefined ? undefined : opening.use(await openTenants({ config, keeping, sessions }));
  const open = opening.move();
  return {
    config,
    runtime,
    runtimes,
    absences,
    sessions,
    keeping,
    tenancy,
    authority,
    [Symbol.asyncDispose]: () => open.disposeAsync(),
  };
}

function minimaOf(host: Tier, tenant: Tier | undefined): Minima {
  return { ...(host === 'none' ? {} : { host }), ...(tenant === undefined ? {} : { tenant }) };
}

async function openKeeping(config: Config): Promise<Keeping> {
  const { keepSessions } = await import('./keep-sessions.ts');
  return await keepSessions(config);
}

async function openTools(config: Config, keeping: Keeping): Promise<Authority> {
  const { openAuthority } = await import('./open-authority.ts');
  return openAuthority(config, keeping);
}

async function openTenants(options: TenancyOptions): Promise<Tenancy> {
  const { openTenancy } = await import('./open-tenancy.ts');
  return openTenancy(options);
}

/** `bulkhead mcp` with sessions of this process. Resolves when the client has gone. */
export async function serveMcp(bulkhead: Bulkhead, options: ServeMcpOptions): Promise<void> {
  const { serveMcp: serve } = await import('./serve-mcp.ts');
  await serve(bulkhead, options);
}

/** Settings of an HTTP tool from an OpenAPI document. Errors: `invalid_request`. */
export async function importOpenapi(request: ImportRequest): Promise<ImportedTool> {
  const { importOpenapi: read } = await import('./tools/http/import-openapi.ts');
  return await read(request);
}

/** `bulkhead serve`. Errors: `config_invalid` when it cannot listen where it is configured to, and those of `openBulkhead`. */
export async function startServer(config: Config, options: ServeOptions): Promise<RunningServer> {
  const { serve } = await import('./serve.ts');
  return await serve(config, (opening) => openBulkhead(config, opening), options);
}

/** Policies that are checked and tried without a server. */
export async function loadOfflinePolicies(): Promise<OfflinePolicies> {
  const { offlinePolicies } = await import('./offline-policies.ts');
  return offlinePolicies;
}

/** The guest images of this host. Every answer is plain data. */
export interface Images {
  build(options?: ImageOptions): Promise<Readonly<Record<string, unknown>>>;
  list(): Promise<readonly Readonly<Record<string, unknown>>[]>;
  /** The newest image when none is named. Errors: `image_missing`. */
  inspect(image?: string): Promise<Readonly<Record<string, unknown>>>;
  /** Removes what no new session needs: all images but the newest, and the templates of those. */
  prune(options?: ImageOptions): Promise<readonly Readonly<Record<string, unknown>>[]>;
}
export interface ImageOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (message: string) => void;
}

export async function openImages(config: Config): Promise<Images> {
  const { openImages: open } = await import('./images/images.ts');
  const images = await open(config);
  return {
    ...images,
    prune: async (options) => {
      const removed = (await images.prune(options)).map((image) => ({ kind: 'image', ...image }));
      const { pruneTemplates } = await import('./runtimes/qemu/template.ts');
      const kept = new Set((await images.list()).map(({ digest }) => String(digest)));
      const templates = await pruneTemplates(config.cacheDir, kept);
      const { pruneContainers } = await import('./runtimes/gvisor/prune.ts');
      const containers = await pruneContainers(config.cacheDir, kept);
      return [
        ...removed,
        ...templates.map((template) => ({ kind: 'template', ...template })),
        ...containers.map((container) => ({ ...container })),
      ];
    },
  };
}

export async function openDoctor(config: Config): Promise<Doctor> {
  const { openDoctor: open } = await import('./doctor/doctor.ts');
  return await open({
    ...config,
    probeAccelerator: () => probeAccelerator(config),
    planRuntimes: () => planHost(config),
  });
}

/** With the newest image that is here: the doctor builds nothing. */
async function probeAccelerator(config: Config): Promise<AcceleratorFinding> {
  const { listImages } = await import('./images/image-store.ts');
  const image = (await listImages(config.cacheDir)).at(0);
  if (image === undefined) {
    return { tried: false, accelerator: 'tcg', proof: 'no guest has been booted. Until then emulation is stated.' };
  }
  await using runtime = await openQemuRuntime(config);
  return await runtime.findAccelerator(image);
}
