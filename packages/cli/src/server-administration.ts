import type { IssuedKey, KeyId, KeyResource, TenantId, TenantResource } from '@bulkhead/protocol';
import type { Bulkhead } from '@bulkhead/sdk';
import type { Administration, CallerInfo, NewKey, TenantSettings } from './administration.ts';

export class ServerAdministration implements Administration {
  readonly #client: Bulkhead;
  readonly #url: string;
  readonly #call: { readonly signal: AbortSignal };

  constructor(client: Bulkhead, url: string, signal: AbortSignal) {
    this.#client = client;
    this.#url = url;
    this.#call = { signal };
  }

  async whoami(): Promise<CallerInfo> {
    return { server: this.#url, ...(await this.#client.caller(this.#call)) };
  }

  async createTenant(name: string, settings: TenantSettings): Promise<TenantResource> {
    return await this.#client.tenants.create({ name, ...settings }, this.#call);
  }

  async listTenants(): Promise<readonly TenantResource[]> {
    return await this.#client.tenants.list(this.#call).all();
  }

  async getTenant(id: TenantId): Promise<TenantResource> {
    return await this.#client.tenants.get(id, this.#call);
  }

  async updateTenant(id: TenantId, settings: TenantSettings): Promise<TenantResource> {
    return await this.#client.tenants.update(id, settings, this.#call);
  }

  async deleteTenant(id: TenantId): Promise<void> {
    await this.#client.tenants.delete(id, this.#call);
  }

  async createKey(tenant: TenantId, { scopes, ...key }: NewKey): Promise<IssuedKey> {
    const request = scopes === undefined ? key : { ...key, scopes: [...scopes] };
    return await this.#client.tenants.keys(tenant).create(request, this.#call);
  }

  async listKeys(tenant: TenantId): Promise<readonly KeyResource[]> {
    return await this.#client.tenants.keys(tenant).list(this.#call).all();
  }

  async getKey(tenant: TenantId, key: KeyId): Promise<KeyResource> {
    return await this.#client.tenants.keys(tenant).get(key, this.#call);
  }

  async rotateKey(tenant: TenantId, key: KeyId, graceSeconds: number | undefined): Promise<IssuedKey> {
    const options = graceSeconds === undefined ? this.#call : { ...this.#call, graceSeconds };
    return await this.#client.tenants.keys(tenant).rotate(key, options);
  }

  async revokeKey(tenant: TenantId, key: KeyId): Promise<KeyResource> {
    return await this.#client.tenants.keys(tenant).revoke(key, this.#call);
  }
}
