// The one schema of the configuration and its one loader: nothing else in Bulkhead reads the environment.
// All problems are reported at once, each as `path: problem (got ..., expected ...)`.

import { tmpdir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { BulkheadError, type RuntimeName, type Tier, tiers } from '@bulkhead/protocol';
import { z } from 'zod';

export interface Config {
  /** Images and templates. */
  readonly cacheDir: string;
  /** What outlives a process on purpose: sessions, their snapshots and keys, the history of the shell. */
  readonly stateDir: string;
  /** A PostgreSQL to keep sessions in; without it, one of our own in the state directory. May hold a password. */
  readonly databaseUrl: string | undefined;
  /** Wraps the keys of sessions. */
  readonly keyFile: string;
  readonly accelerator: 'auto' | 'kvm' | 'tcg';
  /** Whether tenants may share the memory pages of one template. */
  readonly shareTemplatePages: boolean;
  /** Machines that are held ready for sessions to come. */
  readonly pool: { readonly minCount: number; readonly maxCount: number };
  /** Which runtimes sessions may run on; `auto`: every one that this host can use. */
  readonly runtime: 'auto' | RuntimeName;
  /** No session runs with a weaker wall than this, whatever it asks for. */
  readonly minimumTier: Tier;
  /** False when the user asked for output without colours. */
  readonly color: boolean;
}

export type Environment = Readonly<Record<string, string | undefined>>;

const absolutePath = z.string().refine(isAbsolute, { message: 'expected an absolute path' });
const flag = z.enum(['0', '1', 'false', 'true']).transform((text) => text === '1' || text === 'true');
/** Digits, and not more of them than machines can be. */
const count = z
  .string()
  .regex(/^\d{1,4}$/, { message: 'expected a count from 0 to 9999' })
  .transform(Number);

const environmentSchema = z.object({
  HOME: absolutePath.optional(),
  XDG_CACHE_HOME: absolutePath.optional(),
  XDG_STATE_HOME: absolutePath.optional(),
  BULKHEAD_CACHE_DIR: absolutePath.optional(),
  BULKHEAD_STATE_DIR: absolutePath.optional(),
  BULKHEAD_KEY_FILE: absolutePath.optional(),
  DATABASE_URL: z.url({ protocol: /^postgres(?:ql)?$/, message: 'expected postgres://…' }).optional(),
  BULKHEAD_ACCELERATOR: z.enum(['auto', 'kvm', 'tcg']).default('auto'),
  BULKHEAD_SHARE_TEMPLATE_PAGES: flag.default(false),
  BULKHEAD_POOL_MIN: count.default(0),
  BULKHEAD_POOL_MAX: count.default(0),
  BULKHEAD_RUNTIME: z.enum(['auto', 'qemu', 'gvisor', 'fake']).default('auto'),
  BULKHEAD_MINIMUM_TIER: z.enum(tiers).default('none'),
  BULKHEAD_ALLOW_FAKE: flag.default(false),
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
  DATABASE_URL: 'a PostgreSQL to keep sessions in (default: one of its own, in the state directory)',
  BULKHEAD_ACCELERATOR: 'auto, kvm or tcg (default: auto, chosen by a boot probe)',
  BULKHEAD_SHARE_TEMPLATE_PAGES: '1 lets tenants share the memory pages of one template (default: 0)',
  BULKHEAD_POOL_MAX:
    'machines held ready for sessions to come, all tenants and sizes together, as recent demand has it (default: 0)',
  BULKHEAD_POOL_MIN: 'of these, at least so many for each tenant and size that there is any demand for (default: 0)',
  BULKHEAD_RUNTIME:
    'auto, qemu or gvisor (default: auto, every runtime that works here; a session gets the strongest that it may have)',
  BULKHEAD_MINIMUM_TIER:
    'vm-kvm, vm-emulated or user-kernel: no session runs with a weaker wall, whatever it asks for (default: none)',
  NO_COLOR: 'set to anything but nothing: no colours',
};

/** The configuration of this process. Errors: `config_invalid` with every problem. */
export function loadConfig(environment: Environment = process.env): Config {
  // An empty variable is an unset one, as everywhere on Unix.
  const set = Object.fromEntries(
    Object.entries(environment).filter(([, value]) => value !== undefined && value !== ''),
  );
  const parsed = environmentSchema.safeParse(set);
  const problems = parsed.success ? [] : parsed.error.issues.map((issue) => describeIssue(issue, set));
  if (set['BULKHEAD_RUNTIME'] === 'fake' && !['1', 'true'].includes(set['BULKHEAD_ALLOW_FAKE'] ?? '')) {
    problems.push(
      'BULKHEAD_RUNTIME: the fake runtime isolates nothing and is for tests only (got "fake", expected "auto", "qemu" or "gvisor", or BULKHEAD_ALLOW_FAKE=1 beside it)',
    );
  }
  if (set['HOME'] === undefined && (set['BULKHEAD_CACHE_DIR'] ?? set['XDG_CACHE_HOME']) === undefined) {
    problems.push('BULKHEAD_CACHE_DIR: not known (got nothing, expected it, XDG_CACHE_HOME or HOME to be set)');
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
    accelerator: env.BULKHEAD_ACCELERATOR,
    shareTemplatePages: env.BULKHEAD_SHARE_TEMPLATE_PAGES,
    pool: { minCount: env.BULKHEAD_POOL_MIN, maxCount: env.BULKHEAD_POOL_MAX },
    runtime: env.BULKHEAD_RUNTIME,
    minimumTier: env.BULKHEAD_MINIMUM_TIER,
    color: env.NO_COLOR === undefined && env.TERM !== 'dumb',
  };
}

function describeIssue(issue: z.core.$ZodIssue, environment: Environment): string {
  const path = issue.path.join('.');
  // It may hold a password.
  const got = path === 'DATABASE_URL' ? 'a secret' : JSON.stringify(environment[path] ?? null);
  if (issue.code === 'invalid_value') {
    return `${path}: not one of the allowed values (got ${got}, expected ${issue.values.map(String).join(', ')})`;
  }
  const expected = issue.message.startsWith('expected ') ? issue.message.slice('expected '.length) : issue.message;
  return `${path}: not valid (got ${got}, expected ${expected})`;
}
