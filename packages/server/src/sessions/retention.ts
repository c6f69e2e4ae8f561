// What turns were given and told is kept as long as its tenant says, and not longer. First the rows go, in small steps; then, when nothing that is kept needs
// it any more, the key of a day is destroyed, and with it what is left of the day in the files, the logs and the backups of the database.

import type { TenantId } from '@bulkhead/protocol';
import type { Clock } from '../lib/clock.ts';
import type { DayKey, DayKeys } from '../sealing/day-keys.ts';
import type { Store } from '../store/store.ts';
import type { TenantRow } from '../store/tenant-row.ts';

export interface Retention {
  readonly store: Store;
  readonly keys: DayKeys;
  readonly clock: Clock;
}

export interface Forgotten {
  readonly turns: number;
  readonly keys: number;
}

const turnsAtOnce = 100;
const tenantsAtOnce = 100;
const dayMs = 86_400_000;

/** `days`: in place of what each tenant says. It can be cut short anywhere and comes to the same the next time. Errors: `store_unavailable`. */
export async function forgetTurns(retention: Retention, days?: number): Promise<Forgotten> {
  let turns = 0;
  const tenants = new Map<string, TenantRow>();
  for await (const tenant of allTenants(retention.store)) {
    tenants.set(tenant.id, tenant);
    const kept = days ?? tenant.retentionDays;
    for (let removed = turnsAtOnce; removed === turnsAtOnce; turns += removed) {
      removed = await retention.store.turns.removeEnded(tenant.id, kept, turnsAtOnce);
    }
  }
  let keys = 0;
  for (const key of await retention.keys.list()) {
    const tenant = tenants.get(key.tenant);
    if (tenant !== undefined && (await isOver(retention, key, tenant, days))) {
      await retention.keys.destroy(key);
      keys += 1;
    }
  }
  return { turns, keys };
}

/** Destroys every key of a tenant: what is left of it cannot be read from here on. */
export async function forgetTenant({ keys }: Pick<Retention, 'keys'>, tenant: TenantId): Promise<void> {
  for (const key of await keys.list()) if (key.tenant === tenant) await keys.destroy(key);
}

/** A tenant that we do not know keeps its keys: this may be the wrong database. */
async function isOver(
  { store, clock }: Retention,
  { name, endsAtUnixMs }: DayKey,
  tenant: TenantRow,
  days: number | undefined,
): Promise<boolean> {
  if (tenant.deletedAtUnixMs !== null) return true;
  if (endsAtUnixMs + (days ?? tenant.retentionDays) * dayMs > clock.unixMs()) return false;
  return !(await store.turns.needs(tenant.id, name));
}

async function* allTenants({ tenants }: Store): AsyncGenerator<TenantRow> {
  let rows = await tenants.page({ limit: tenantsAtOnce, deleted: true });
  for (;;) {
    yield* rows;
    const last = rows.at(-1);
    if (last === undefined || rows.length < tenantsAtOnce) return;
    const after = { unixMs: last.createdAtUnixMs, id: last.id };
    rows = await tenants.page({ after, limit: tenantsAtOnce, deleted: true });
  }
}
