// Tenants and keys of this host, by its owner.

import {
  BulkheadError,
  type IssuedKey,
  type KeyId,
  type KeyResource,
  type TenantId,
  type TenantResource,
  roles,
} from '@bulkhead/protocol';
import {
  type Bulkhead,
  type IssuedApiKey,
  type Page,
  type PageRequest,
  type Tenancy,
  type TenantChange,
  keyResource,
  owner,
  tenantResource,
} from '@bulkhead/server';
import type { Administration, CallerInfo, NewKey, TenantSettings } from './administration.ts';

const graceDefaultSeconds = 3600;
const pageCount = 200;

export class LocalAdministration implements Administration {
  readonly #bulkhead: Bulkhead;

  constructor(bulkhead: Bulkhead) {
    this.#bulkhead = bulkhead;
  }

  async whoami(): Promise<CallerInfo> {
    return { server: null, ...owner, scopes: [...owner.scopes] };
  }

  async createTenant(name: string, settings: TenantSettings): Promise<TenantResource> {
    return tenantResource(await this.#tenancy.tenants.create({ ...changeOf(settings), name }));
  }

  async listTenants(): Promise<readonly TenantResource[]> {
    return (await all((page) => this.#tenancy.tenants.list(page))).map(tenantResource);
  }

  async getTenant(id: TenantId): Promise<TenantResource> {
    return tenantResource(await this.#tenancy.tenants.get(id));
  }

  async updateTenant(id: TenantId, settings: TenantSettings): Promise<TenantResource> {
    return tenantResource(await this.#tenancy.tenants.update(id, changeOf(settings)));
  }

  async deleteTenant(id: TenantId): Promise<void> {
    await this.#tenancy.tenants.delete(id);
  }

  async createKey(tenant: TenantId, { name, subject, role, scopes, expiresAt }: NewKey): Promise<IssuedKey> {
    return issued(
      await this.#tenancy.keys.create(owner, tenant, {
        name,
        scopes: role === undefined ? (scopes ?? []) : roles[role],
        ...(subject === undefined ? {} : { subject }),
        ...(expiresAt === undefined ? {} : { expiresAtUnixMs: Date.parse(expiresAt) }),
      }),
    );
  }

  async listKeys(tenant: TenantId): Promise<readonly KeyResource[]> {
    return (await all((page) => this.#tenancy.keys.list(tenant, page))).map(keyResource);
  }

  async getKey(tenant: TenantId, key: KeyId): Promise<KeyResource> {
    return keyResource(await this.#tenancy.keys.get(tenant, key));
  }

  async rotateKey(tenant: TenantId, key: KeyId, graceSeconds: number = graceDefaultSeconds): Promise<IssuedKey> {
    return issued(await this.#tenancy.keys.rotate(owner, tenant, key, graceSeconds));
  }

  async revokeKey(tenant: TenantId, key: KeyId): Promise<KeyResource> {
    return keyResource(await this.#tenancy.keys.revoke(tenant, key));
  }

  get #tenancy(): Tenancy {
    const { tenancy } = this.#bulkhead;
    if (tenancy === undefined) throw new BulkheadError('internal', 'It was opened without what is kept.');
    return tenancy;
  }
}

function issued({ key, secret }: IssuedApiKey): IssuedKey {
  return { ...keyResource(key), secret };
}

function changeOf(settings: TenantSettings): TenantChange {
  return settings;
}

async function all<Item>(list: (page: PageRequest) => Promise<Page<Item>>): Promise<readonly Item[]> {
  const items: Item[] = [];
  let cursor: string | null = null;
  do {
    const page: Page<Item> = await list(cursor === null ? { limit: pageCount } : { limit: pageCount, cursor });
    items.push(...page.items);
    cursor = page.nextCursor;
  } while (cursor !== null);
  return items;
}
