import { type Scope, makeId, roles } from '@bulkhead/protocol';
import type { Clock } from '../lib/clock.ts';
import type { Store } from '../store/store.ts';
import { makeSecret } from './key-secret.ts';
import { localTenant } from './local-tenant.ts';
import type { TenantDefaults } from './stored-tenants.ts';
import type { IssuedApiKey } from './tenancy.ts';

export interface FirstTenantOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly defaults: TenantDefaults;
}

const name = 'default';
const subject = 'admin';
const firstScopes: readonly Scope[] = [...roles.admin, 'installation:admin'];

/**
 * A tenant and a key that may do everything, where there is no tenant yet but this host's own. Undefined wherever there is one: the secret is told once, to one
 * of the servers that start at once.
 */
export async function ensureFirstTenant({
  store,
  clock,
  defaults,
}: FirstTenantOptions): Promise<IssuedApiKey | undefined> {
  const [id, tenant, now] = [makeId('key'), makeId('tenant'), clock.unixMs()];
  const { secret, hash } = makeSecret(id);
  const key = { id, tenant, name: 'first', subject, scopes: firstScopes, createdAtUnixMs: now, expiresAtUnixMs: null };
  const row = { id: tenant, name, ...defaults, minimumTier: null, createdAtUnixMs: now };
  if (!(await store.tenants.insertFirst(row, { ...key, hash }, localTenant))) return undefined;
  return { key: { ...key, revokedAtUnixMs: null, lastUsedAtUnixMs: null }, secret };
}
