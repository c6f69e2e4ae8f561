// The one schema of the configuration and its one loader: nothing else in Bulkhead reads the environment.
// All problems are reported at once, each as `path: problem (got ..., expected ...)`.

import { tmpdir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { BulkheadError, type Quotas, type RuntimeName, type Tier, limits, tiers } from '@bulkhead/protocol';
import { z } from 'zod';
import { type ClientConfig, clientEnvironment, clientEnvironmentHelp, toClientConfig } from './client-config.ts';
import {
  type ServerConfig,
  serverEnvironment,
  serverEnvironmentHelp,
  serverProblems,
  toServerConfig,
} from './server-config.ts';

export interface Config {
  /** Images and templates. */
  readonly cacheDir: string;
  /** What outlives a process on purpose: sessions, their snapshots and keys, the history of the shell. */
  readonly stateDir: string;
  /** A PostgreSQL to keep sessions in; without it, one of our own in the state directory. May hold a password. */
  readonly databaseUrl: string | undefined;
  /** Wraps the keys of sessions and of turns. */
  readonly keyFile: string;
  /** The keys of what turns were given and told; servers that share a database share it. */
  readonly turnKeysDir: string;
  /** What a new tenant may have, unless it is told otherwise. */
  readonly quotas: Quotas;
  /** Days that turns of a new tenant are kept, unless it is told otherwise. */
  readonly retentionDays: number;
  /** The identity provider whose tokens are taken; none without it. */
  readonly oidc: OidcConfig | undefined;
  readonly accelerator: 'auto' | 'kvm' | 'tcg';
  /** Whether tenants may share the memory pages of one template. */
  readonly shareTemplatePages: boolean;
  /** Machines that are held ready for sessions to come. */
  readonly pool: { readonly minCount: number; readonly maxCount: number };
  /** Which runtimes sessions may run on; `auto`: every one that this host can use. */
  readonly runtime: 'auto' | RuntimeName;
  /** Where this host is, as policies know it. */
  readonly region: string;
  /** How long a call of a tool waits for a person to approve it. */
  readonly approvalTimeoutMs: number;
  /** No session runs with a weaker wall than this, whatever it asks for. */
  readonly minimumTier: Tier;
  /** The server that commands talk to, when there is one. */
  readonly client: ClientConfig;
  /** How `serve` listens. */
  readonly server: ServerConfig;
  /** False when the user asked for output without colours. */
  readonly color: boolean;
}

export interface OidcConfig {
  readonly issuer: string;
  readonly audience: string;
  readonly jwksUrl: string;
  readonly tenantClaim: string;
  readonly subjectClaim: string;
  readonly scopeClaim: string;
  readonly rolesClaim: string;
  readonly clockToleranceSeconds: number;
}

const retentionMaxDays = 3650;
export const defaultQuotas: Quotas = {
  sessions: 1000,
  machines: 50,
  memoryMib: 65_536,
  diskMib: 2_097_152,
  requestsPerSecond: 100,
};

export type Environment = Readonly<Record<string, string | undefined>>;

const absolutePath = z.string().refine(isAbsolute, { message: 'expected an absolute path' });
const flag = z.enum(['0', '1', 'false', 'true']).transform((text) => text === '1' || text === 'true');
/** Digits, and not more of them than machines can be. */
const count = z
  .string()
  .regex(/^\d{1,4}$/, { message: 'expected a count from 0 to 9999' })
  .transform(Number);

const quota = z
  .union(
    [
      z.literal('unlimited').transform(() => limits.quotaMaximum),
      z
        .string()
        .regex(/^\d{1,9}$/)
        .transform(Number),
    ],
    {
      message: 'expected a count from 0 to 999999999, or unlimited',
    },
  )
  .optional();
const days = z
  .string()
  .regex(/^\d{1,4}$/)
  .transform(Number)
  .refine((value) => value >= 1 && value <= retentionMaxDays, {
    message: `expected days from 1 to ${retentionMaxDays}`,
  });
const seconds = z
  .string()
  .regex(/^\d{1,3}$/, { message: 'expected seconds from 0 to 999' })
  .transform(Number);
const claimName = z.string().regex(/^[\x21-\x7e]{1,256}$/, { message: 'expected the name of a claim' });
/** Where keys come from has to be proven to be the provider; on this host there is nobody between. */
const providerUrl = z.url({ protocol: /^https?$/, message: 'expected https://…' }).refine(
  (text) => {
    const { protocol, hostname } = new URL(text);
    return protocol === 'https:' || ['localhost', '127.0.0.1', '[::1]'].includes(hostname);
  },
  { message: 'expected https://…' },
);

const environmentSchema = z.object({
  HOME: absolutePath.optional(),
  XDG_CACHE_HOME: absolutePath.optional(),
  XDG_STATE_HOME: absolutePath.optional(),
  BULKHEAD_CACHE_DIR: absolutePath.optional(),
  BULKHEAD_STATE_DIR: absolutePath.optional(),
  BULKHEAD_KEY_FILE: absolutePath.optional(),
  DATABASE_URL: z.url({ protocol: /^postgres(?:ql)?$/, message: 'expected postgres://…' }).optional(),
  BULKHEAD_TURN_KEYS_DIR: absolutePath.optional(),
  BULKHEAD_TURN_RETENTION_DAYS: days.default(30),
  BULKHEAD_QUOTA_SESSIONS: quota,
  BULKHEAD_QUOTA_MACHINES: quota,
  BULKHEAD_QUOTA_MEMORY_MIB: quota,
  BULKHEAD_QUOTA_DISK_MIB: quota,
  BULKHEAD_QUOTA_REQUESTS_PER_SECOND: quota,
  BULKHEAD_OIDC_ISSUER: providerUrl.optional(),
  BULKHEAD_OIDC_AUDIENCE: z.string().min(1).max(1024).optional(),
  BULKHEAD_OIDC_JWKS_URL: providerUrl.optional(),
  BULKHEAD_OIDC_TENANT_CLAIM: claimName.default('tenant'),
  BULKHEAD_OIDC_SUBJECT_CLAIM: claimName.default('sub'),
  BULKHEAD_OIDC_SCOPE_CLAIM: claimName.default('scope'),
  BULKHEAD_OIDC_ROLES_CLAIM: claimName.default('roles'),
  BULKHEAD_OIDC_CLOCK_TOLERANCE_SECONDS: seconds.default(30),
  BULKHEAD_ACCELERATOR: z.enum(['auto', 'kvm', 'tcg']).default('auto'),
  BULKHEAD_SHARE_TEMPLATE_PAGES: flag.default(false),
  BULKHEAD_POOL_MIN: count.default(0),
  BULKHEAD_POOL_MAX: count.default(0),
  BULKHEAD_RUNTIME: z.enum(['auto', 'qemu', 'gvisor', 'fake']).default('auto'),
  BULKHEAD_MINIMUM_TIER: z.enum(tiers).default('none'),
  BULKHEAD_REGION: z
    .string()
    .regex(/^[a-z0-9][a-z0-9-]{0,62}$/, { message: 'expected a region like eu-west-1' })
    .default('local'),
  BULKHEAD_APPROVAL_TIMEOUT_SECONDS: z
    .string()
    .regex(/^\d{1,5}$/)
    .transform(Number)
    .refine((value) => value >= 1 && value <= 86_400, { message: 'expected seconds from 1 to 86400' })
    .default(600),
  BULKHEAD_ALLOW_FAKE: flag.default(false),
  ...clientEnvironment,
  ...serverEnvironment,
  NO_COLOR: z.string().optional(),
  TERM: z.string().optional(),
});
type ParsedEnvironment = z.infer<typeof environmentSchema>;

/** What every variable means; `docs/configuration.md` and `bulkhead help environment` are made from it. */
export const environmentHelp: Readonly<Record<string, string>> = {
  BULKHEAD_CACHE_DIR: 'where images and templates are kept (default: $XDG_CACHE_HOME/bulkhead or ~/.cache/bulkhead)',
  BULKHEAD_STATE_DIR:
    "where sessions and the shell's history are kept (default: $XDG_STATE_HOME/bulkhead or ~/.local/state/bulkhead)",
  BULKHEAD_KEY_FILE:
    'the 32 bytes that wrap the keys of suspended sessions (default: `key` in the state directory, made when there is none)',
  BULKHEAD_TURN_KEYS_DIR:
    'the keys that turns are sealed with, one for each tenant and day; servers that share a database share this directory and the key file (default: `turn-keys` in the state directory)',
  BULKHEAD_TURN_RETENTION_DAYS:
    'days that what turns were given and printed is kept, for new tenants: 1 to 3650 (default: 30)',
  BULKHEAD_QUOTA_SESSIONS: 'sessions that a new tenant may have, or unlimited (default: 1000)',
  BULKHEAD_QUOTA_MACHINES: 'of these, awake (default: 50)',
  BULKHEAD_QUOTA_MEMORY_MIB: 'memory of the machines of a new tenant that are awake, in MiB (default: 65536)',
  BULKHEAD_QUOTA_DISK_MIB: 'scratch disks of all sessions of a new tenant, in MiB (default: 2097152)',
  BULKHEAD_QUOTA_REQUESTS_PER_SECOND: 'requests of a new tenant to one server in a second (default: 100)',
  BULKHEAD_OIDC_ISSUER: 'the identity provider whose tokens are taken, as in their `iss` (default: none is taken)',
  BULKHEAD_OIDC_AUDIENCE: 'whom the tokens have to be for, as in their `aud`',
  BULKHEAD_OIDC_JWKS_URL: 'where the provider publishes its keys',
  BULKHEAD_OIDC_TENANT_CLAIM:
    'the claim with the id or the name of the tenant; dots lead into objects (default: tenant)',
  BULKHEAD_OIDC_SUBJECT_CLAIM: 'the claim with the subject (default: sub)',
  BULKHEAD_OIDC_SCOPE_CLAIM: 'the claim with scopes, as text or as a list (default: scope)',
  BULKHEAD_OIDC_ROLES_CLAIM: 'the claim with roles, as text or as a list (default: roles)',
  BULKHEAD_OIDC_CLOCK_TOLERANCE_SECONDS: 'seconds that the clock of the provider may be off (default: 30)',
  DATABASE_URL: 'a PostgreSQL to keep sessions in (default: one of its own, in the state directory)',
  BULKHEAD_ACCELERATOR: 'auto, kvm or tcg (default: auto, chosen by a boot probe)',
  BULKHEAD_SHARE_TEMPLATE_PAGES: '1 lets tenants share the memory pages of one template (default: 0)',
  BULKHEAD_POOL_MAX:
    'machines held ready for sessions to come, all tenants and sizes together, as recent demand has it (default: 0)',
  BULKHEAD_POOL_MIN: 'of these, at least so many for each tenant and size that there is any demand for (default: 0)',
  BULKHEAD_RUNTIME:
    'auto, qemu or gvisor (default: auto, every runtime that works here; a session gets the strongest that it may have)',
  BULKHEAD_REGION: 'where this host is, as policies know it: eu-west-1, for instance (default: local)',
  BULKHEAD_APPROVAL_TIMEOUT_SECONDS:
    'how long a call of a tool waits for a person to approve it: 1 to 86400; the turn’s own limit counts, too (default: 600)',
  BULKHEAD_MINIMUM_TIER:
    'vm-kvm, vm-emulated or user-kernel: no session runs with a weaker wall, whatever it asks for (default: none)',
  ...clientEnvironmentHelp,
  ...serverEnvironmentHelp,
  NO_COLOR: 'set to anything but nothing: no colours',
};

/** The configuration of this process; `given` are variables that were given another way. Errors: `config_invalid` with every problem. */
export function loadConfig(environment: Environment = process.env, given: Environment = {}): Config {
  // An empty variable is an unset one, as everywhere on Unix.
  const set = Object.fromEntries(
    Object.entries({ ...environment, ...given }).filter(([, value]) => value !== undefined && value !== ''),
  );
  const parsed = environmentSchema.safeParse(set);
  const problems = parsed.success
    ? [...serverProblems(parsed.data)]
    : parsed.error.issues.map((issue) => describeIssue(issue, set));
  if (set['BULKHEAD_RUNTIME'] === 'fake' && !['1', 'true'].includes(set['BULKHEAD_ALLOW_FAKE'] ?? '')) {
    problems.push(
      'BULKHEAD_RUNTIME: the fake runtime isolates nothing and is for tests only (got "fake", expected "auto", "qemu" or "gvisor", or BULKHEAD_ALLOW_FAKE=1 beside it)',
    );
  }
  if (set['HOME'] === undefined && (set['BULKHEAD_CACHE_DIR'] ?? set['XDG_CACHE_HOME']) === undefined) {
    problems.push('BULKHEAD_CACHE_DIR: not known (got nothing, expected it, XDG_CACHE_HOME or HOME to be set)');
  }
  const oidc = ['BULKHEAD_OIDC_ISSUER', 'BULKHEAD_OIDC_AUDIENCE', 'BULKHEAD_OIDC_JWKS_URL'];
  if (oidc.some((name) => set[name] !== undefined)) {
    for (const name of oidc.filter((each) => set[each] === undefined)) {
      problems.push(
        `${name}: not set (got nothing, expected it beside ${oidc.filter((each) => each !== name).join(' and ')})`,
      );
    }
  }
  if (!parsed.success || problems.length > 0) {
    throw new BulkheadError('config_invalid', `The configuration is not valid:\n${problems.join('\n')}`, {
      hint: 'Correct or unset these environment variables.',
      details: { problems },
    });
  }
  return toConfig(parsed.data);
}

function toConfig(env: ParsedEnvironment): Config {
  const home = env.HOME ?? tmpdir();
  const stateDir = env.BULKHEAD_STATE_DIR ?? join(env.XDG_STATE_HOME ?? join(home, '.local', 'state'), 'bulkhead');
  return {
    cacheDir: env.BULKHEAD_CACHE_DIR ?? join(env.XDG_CACHE_HOME ?? join(home, '.cache'), 'bulkhead'),
    stateDir,
    databaseUrl: env.DATABASE_URL,
    keyFile: env.BULKHEAD_KEY_FILE ?? join(stateDir, 'key'),
    turnKeysDir: env.BULKHEAD_TURN_KEYS_DIR ?? join(stateDir, 'turn-keys'),
    quotas: toQuotas(env),
    retentionDays: env.BULKHEAD_TURN_RETENTION_DAYS,
    oidc: toOidc(env),
    accelerator: env.BULKHEAD_ACCELERATOR,
    shareTemplatePages: env.BULKHEAD_SHARE_TEMPLATE_PAGES,
    pool: { minCount: env.BULKHEAD_POOL_MIN, maxCount: env.BULKHEAD_POOL_MAX },
    runtime: env.BULKHEAD_RUNTIME,
    minimumTier: env.BULKHEAD_MINIMUM_TIER,
    region: env.BULKHEAD_REGION,
    approvalTimeoutMs: env.BULKHEAD_APPROVAL_TIMEOUT_SECONDS * 1000,
    client: toClientConfig(env),
    server: toServerConfig(env),
    color: env.NO_COLOR === undefined && env.TERM !== 'dumb',
  };
}

function toQuotas(env: ParsedEnvironment): Quotas {
  return {
    sessions: env.BULKHEAD_QUOTA_SESSIONS ?? defaultQuotas.sessions,
    machines: env.BULKHEAD_QUOTA_MACHINES ?? defaultQuotas.machines,
    memoryMib: env.BULKHEAD_QUOTA_MEMORY_MIB ?? defaultQuotas.memoryMib,
    diskMib: env.BULKHEAD_QUOTA_DISK_MIB ?? defaultQuotas.diskMib,
    requestsPerSecond: env.BULKHEAD_QUOTA_REQUESTS_PER_SECOND ?? defaultQuotas.requestsPerSecond,
  };
}

function toOidc(env: ParsedEnvironment): OidcConfig | undefined {
  const { BULKHEAD_OIDC_ISSUER: issuer, BULKHEAD_OIDC_AUDIENCE: audience, BULKHEAD_OIDC_JWKS_URL: jwksUrl } = env;
  if (issuer === undefined || audience === undefined || jwksUrl === undefined) return undefined;
  return {
    issuer,
    audience,
    jwksUrl,
    tenantClaim: env.BULKHEAD_OIDC_TENANT_CLAIM,
    subjectClaim: env.BULKHEAD_OIDC_SUBJECT_CLAIM,
    scopeClaim: env.BULKHEAD_OIDC_SCOPE_CLAIM,
    rolesClaim: env.BULKHEAD_OIDC_ROLES_CLAIM,
    clockToleranceSeconds: env.BULKHEAD_OIDC_CLOCK_TOLERANCE_SECONDS,
  };
}

/** They may hold a password, or are one. */
const secrets: ReadonlySet<string> = new Set(['DATABASE_URL', 'BULKHEAD_API_KEY', 'BULKHEAD_URL']);

function describeIssue(issue: z.core.$ZodIssue, environment: Environment): string {
  // One of a list is told by the name of the list.
  const path = String(issue.path[0] ?? '');
  const got = secrets.has(path) ? 'a secret' : JSON.stringify(environment[path] ?? null);
  if (issue.code === 'invalid_value') {
    return `${path}: not one of the allowed values (got ${got}, expected ${issue.values.map(String).join(', ')})`;
  }
  const expected = issue.message.startsWith('expected ') ? issue.message.slice('expected '.length) : issue.message;
  return `${path}: not valid (got ${got}, expected ${expected})`;
}
