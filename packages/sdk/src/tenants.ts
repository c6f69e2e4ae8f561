// Tenants and their API keys, for who administers them.

import type { IssuedKey, KeyResource, RouteBody, Routes, TenantResource } from '@bulkhead/protocol';
import { Authority } from './authority.ts';
import { type CallOptions, type CreateOptions, type ListOptions, type VersionedOptions, ifMatch } from './options.ts';
import { Pages } from './pages.ts';
import type { Transport } from './transport.ts';

export type TenantRequest = RouteBody<Routes['createTenant']>;
export type TenantUpdate = RouteBody<Routes['updateTenant']>;
export type KeyRequest = RouteBody<Routes['createKey']>;

export class Tenants {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  async create(request: TenantRequest, options: CreateOptions = {}): Promise<TenantResource> {
    return await this.#transport.call('createTenant', { body: request }, options);
  }

  /** Oldest first. */
  list({ limit, ...options }: ListOptions = {}): Pages<TenantResource> {
    return new Pages((cursor) => this.#transport.call('listTenants', { query: pageQuery(limit, cursor) }, options));
  }

  async get(tenant: string, options: CallOptions = {}): Promise<TenantResource> {
    return await this.#transport.call('getTenant', { params: { tenant } }, options);
  }

  /** What is not named stays. */
  async update(tenant: string, change: TenantUpdate, options: VersionedOptions = {}): Promise<TenantResource> {
    return await this.#transport.call('updateTenant', { params: { tenant }, body: change }, ifMatch(options));
  }

  /** Ends every session of it, revokes its keys and removes what was kept of it. */
  async delete(tenant: string, options: VersionedOptions = {}): Promise<void> {
    await this.#transport.call('deleteTenant', { params: { tenant } }, ifMatch(options));
  }

  /** What it has set up for its sessions. */
  authority(tenant: string): Authority {
    return new Authority(this.#transport, tenant);
  }

  keys(tenant: string): Keys {
    return new Keys(this.#transport, tenant);
  }
}

export class Keys {
  readonly #transport: Transport;
  readonly #tenant: string;

  constructor(transport: Transport, tenant: string) {
    this.#transport = transport;
    this.#tenant = tenant;
  }

  /** Its secret is in this answer and nowhere else. */
  async create(request: KeyRequest, options: CreateOptions = {}): Promise<IssuedKey> {
    return await this.#transport.call('createKey', { params: { tenant: this.#tenant }, body: request }, options);
  }

  /** Oldest first, without their secrets. */
  list({ limit, ...options }: ListOptions = {}): Pages<KeyResource> {
    const params = { tenant: this.#tenant };
    return new Pages((cursor) =>
      this.#transport.call('listKeys', { params, query: pageQuery(limit, cursor) }, options),
    );
  }

  async get(key: string, options: CallOptions = {}): Promise<KeyResource> {
    return await this.#transport.call('getKey', { params: { tenant: this.#tenant, key } }, options);
  }

  /** A new secret; the one before it works for `graceSeconds` more, an hour unless said. */
  async rotate(key: string, options: CreateOptions & { readonly graceSeconds?: number } = {}): Promise<IssuedKey> {
    const { graceSeconds, ...call } = options;
    const params = { tenant: this.#tenant, key };
    return await this.#transport.call(
      'rotateKey',
      { params, body: graceSeconds === undefined ? {} : { graceSeconds } },
      call,
    );
  }

  /** Ends a key at once. */
  async revoke(key: string, options: CallOptions = {}): Promise<KeyResource> {
    return await this.#transport.call('revokeKey', { params: { tenant: this.#tenant, key } }, options);
  }
}

function pageQuery(limit: number | undefined, cursor: string | undefined): { limit?: number; cursor?: string } {
  return { ...(limit === undefined ? {} : { limit }), ...(cursor === undefined ? {} : { cursor }) };
}
