// Servers as they are put together, several on one database where a test wants that; the fake runtime.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Quotas, type Scope, type TenantId, makeId, scopes } from '@bulkhead/protocol';
import { type Config, type Environment, loadConfig } from '../../src/config/config.ts';
import { type Keeping, keepSessions } from '../../src/keep-sessions.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { type Tenancy, openTenancy } from '../../src/open-tenancy.ts';
import { FakeRuntime } from '../../src/runtimes/fake/fake-runtime.ts';
import { Sessions } from '../../src/sessions/sessions.ts';
import { unbounded } from '../../src/store/tenant-row.ts';
import type { Caller } from '../../src/tenants/caller.ts';
import { type DatabaseKind, type TestDatabase, openTestDatabase } from '../store/databases.ts';

export interface Server extends AsyncDisposable {
  readonly config: Config;
  readonly keeping: Keeping;
  readonly runtime: FakeRuntime;
  readonly sessions: Sessions;
  readonly tenancy: Tenancy;
}

export interface Installation extends AsyncDisposable {
  readonly root: string;
  readonly database: TestDatabase;
  /** One more server on the database, with a data directory of that name. Its key file and the keys of turns are those of all. */
  start(name: string, environment?: Environment): Promise<Server>;
}

export async function openInstallation(kind: DatabaseKind = 'embedded'): Promise<Installation> {
  const root = mkdtempSync(join(tmpdir(), 'bulkhead-servers-'));
  await using opening = new AsyncDisposableStack();
  opening.defer(() => rmSync(root, { recursive: true }));
  const database = opening.use(await openTestDatabase(kind));
  const open = opening.move();
  return {
    root,
    database,
    start: (name, environment = {}) =>
      startServer({
        HOME: root,
        BULKHEAD_STATE_DIR: join(root, name),
        BULKHEAD_KEY_FILE: join(root, 'key'),
        BULKHEAD_TURN_KEYS_DIR: join(root, 'turn-keys'),
        DATABASE_URL: database.url,
        ...environment,
      }),
    [Symbol.asyncDispose]: () => open.disposeAsync(),
  };
}

async function startServer(environment: Environment): Promise<Server> {
  await using opening = new AsyncDisposableStack();
  const config = loadConfig(environment);
  const keeping = opening.use(await keepSessions(config));
  const runtime = opening.use(new FakeRuntime({ clock: systemClock }));
  const sessions = opening.use(
    new Sessions({ runtimes: [runtime], journal: keeping.journal, keeper: keeping.snapshots }),
  );
  for (const record of keeping.recovery.sessions) sessions.takeUp(record);
  const tenancy = opening.use(openTenancy({ config, keeping, sessions }));
  const open = opening.move();
  return { config, keeping, runtime, sessions, tenancy, [Symbol.asyncDispose]: () => open.disposeAsync() };
}

export async function newTenant({ tenancy }: Server, quotas: Partial<Quotas> = {}): Promise<TenantId> {
  const name = makeId('tenant').slice(4);
  return (await tenancy.tenants.create({ name, quotas: { ...unbounded, ...quotas } })).id;
}

export function callerOf(
  tenant: TenantId,
  change: Partial<Omit<Caller, 'scopes'>> & { scopes?: Scope[] } = {},
): Caller {
  return { tenant, subject: 'somebody', key: null, ...change, scopes: new Set(change.scopes ?? scopes) };
}
