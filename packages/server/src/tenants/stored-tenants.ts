import { BulkheadError, type Quotas, type TenantId, limits, makeId, tenantName, tiers } from '@bulkhead/protocol';
import type { Clock } from '../lib/clock.ts';
import { type Page, type PageRequest, readCursor, toPage } from '../lib/page.ts';
import type { ShortMemory } from '../lib/short-memory.ts';
import type { Store } from '../store/store.ts';
import { type TenantRow, unbounded } from '../store/tenant-row.ts';
import { noTenant } from './caller.ts';
import { localTenant } from './local-tenant.ts';
import type { Tenant, TenantChange, Tenants } from './tenancy.ts';

export interface TenantDefaults {
  readonly quotas: Quotas;
  readonly retentionDays: number;
}

export interface StoredTenantsOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly defaults: TenantDefaults;
  /** What is known of tenants for a moment, by id and by name. */
  readonly known: Pick<ShortMemory<unknown>, 'forget'>;
  /** Ends the tenant's sessions on this host. */
  readonly endSessions: (tenant: TenantId) => Promise<void>;
  /** Destroys the keys that the tenant's turns are sealed with, as far as this host has them. */
  readonly destroyKeys: (tenant: TenantId) => Promise<void>;
}

/** Names that begin so are ours. */
const reservedPrefix = 'ten-';
const retentionMaxDays = 3650;
const tenantsAtOnce = 100;

/** The tenant of this host, which no quota bounds; what is there stays. */
export async function ensureLocalTenant(store: Store, retentionDays: number, unixMs: number): Promise<void> {
  await store.tenants.ensure({
    id: localTenant,
    name: localTenant.replace('_', '-'),
    quotas: unbounded,
    minimumTier: null,
    retentionDays,
    createdAtUnixMs: unixMs,
  });
}

export class StoredTenants implements Tenants {
  readonly #options: StoredTenantsOptions;

  constructor(options: StoredTenantsOptions) {
    this.#options = options;
  }

  async create(request: TenantChange & { readonly name: string }): Promise<Tenant> {
    const { store, clock, defaults } = this.#options;
    const { name } = request;
    if (!tenantName.safeParse(name).success || name.startsWith(reservedPrefix)) {
      throw new BulkheadError(
        'invalid_request',
        `A tenant is named with 1 to 63 small letters, digits and dashes, and not "${reservedPrefix}…".`,
        { details: { field: 'name' } },
      );
    }
    const what = changed({ ...defaults, minimumTier: null }, request);
    const tenant = { id: makeId('tenant'), name, ...what, createdAtUnixMs: clock.unixMs() };
    if (!(await store.tenants.insert(tenant))) {
      throw new BulkheadError('state_conflict', `There is a tenant ${JSON.stringify(name)} already.`, {
        hint: 'Choose another name.',
        details: { field: 'name' },
      });
    }
    this.#forget(tenant);
    return { ...tenant, version: 1 };
  }

  async get(id: TenantId): Promise<Tenant> {
    const row = await this.#options.store.tenants.get(id);
    if (row === undefined || row.deletedAtUnixMs !== null) throw noTenant(id);
    return toTenant(row);
  }

  async list(page: PageRequest = {}): Promise<Page<Tenant>> {
    const { limit = limits.pageDefaultCount, cursor } = page;
    const after = cursor === undefined ? {} : { after: readCursor(cursor) };
    const rows = await this.#options.store.tenants.page({ ...after, limit: limit + 1 });
    return toPage(rows.map(toTenant), limit, ({ createdAtUnixMs, id }) => ({ unixMs: createdAtUnixMs, id }));
  }

  async update(id: TenantId, change: TenantChange, expectedVersion?: number): Promise<Tenant> {
    const row = await this.#options.store.tenants.update(id, expectedVersion, (before) => changed(before, change));
    if (row === undefined) throw noTenant(id);
    this.#forget(row);
    return toTenant(row);
  }

  async delete(id: TenantId, expectedVersion?: number): Promise<void> {
    const { store, clock } = this.#options;
    if (id === localTenant) {
      throw new BulkheadError('state_conflict', 'The tenant of this host stays.', {
        hint: 'Terminate its sessions instead: `bulkhead session list`.',
      });
    }
    if (!(await store.tenants.markDeleted(id, expectedVersion, clock.unixMs()))) throw noTenant(id);
    const row = await store.tenants.get(id);
    if (row !== undefined) this.#forget(row);
    await this.#remove(id);
  }

  /** Removes what is left on this host of the tenants that were deleted, here or through another server. Answers how many had anything. */
  async removeDeleted(): Promise<number> {
    const { store } = this.#options;
    // What cannot be removed would be found again and again: the next look is for it.
    const rows = await store.tenants.deletedWithRemains(store.host, tenantsAtOnce);
    for (const { id } of rows.map(ofRow)) await this.#remove(id);
    return rows.length;
  }

  /** The machines first, the keys next: from there on nothing of it can be read, whatever happens to the rows. */
  async #remove(id: TenantId): Promise<void> {
    const { store, endSessions, destroyKeys } = this.#options;
    await endSessions(id);
    await destroyKeys(id);
    await store.sessions.removeEnded(id);
    await store.keys.removeOf(id);
    await store.idempotency.removeOf(id);
  }

  #forget({ id, name }: { readonly id: string; readonly name: string }): void {
    this.#options.known.forget(id);
    this.#options.known.forget(name);
  }
}

type Changeable = Pick<TenantRow, 'quotas' | 'minimumTier' | 'retentionDays'>;

/** Errors: `invalid_request`. */
function changed(before: Changeable, change: TenantChange): Changeable & Pick<Tenant, 'minimumTier'> {
  const quotas = { ...before.quotas, ...change.quotas };
  for (const [quota, value] of Object.entries(quotas)) {
    checkInteger(`quotas.${quota}`, value, 0, limits.quotaMaximum);
  }
  const { minimumTier = toTier(before.minimumTier), retentionDays = before.retentionDays } = change;
  checkInteger('retentionDays', retentionDays, 1, retentionMaxDays);
  return { quotas, minimumTier, retentionDays };
}

function checkInteger(field: string, value: number, minimum: number, maximum: number): void {
  if (Number.isInteger(value) && value >= minimum && value <= maximum) return;
  throw new BulkheadError('invalid_request', `${field} is a whole number from ${minimum} to ${maximum}.`, {
    details: { field, minimum, maximum },
  });
}

function toTenant(row: TenantRow): Tenant {
  const { id, name, version, quotas, minimumTier, retentionDays, createdAtUnixMs } = ofRow(row);
  return { id, name, version, quotas, minimumTier: toTier(minimumTier), retentionDays, createdAtUnixMs };
}

/** What a later version calls a tier is the strongest to us: nothing that we have is enough. */
function toTier(text: string | null): Tenant['minimumTier'] {
  return text === null ? null : (tiers.find((tier) => tier === text) ?? tiers[0]);
}

function ofRow<Row extends { readonly id: string }>(row: Row): Omit<Row, 'id'> & { readonly id: TenantId } {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- rows are written by this class alone, from ids
  return row as never;
}
