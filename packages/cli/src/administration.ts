// What commands need of tenants and their API keys.

import type {
  IssuedKey,
  KeyId,
  KeyResource,
  Quotas,
  Role,
  Scope,
  TenantId,
  TenantResource,
  Tier,
} from '@bulkhead/protocol';

export interface TenantSettings {
  readonly quotas?: Partial<Quotas>;
  /** Null: none. */
  readonly minimumTier?: Tier | null;
  readonly retentionDays?: number;
}

export interface NewKey {
  readonly name: string;
  readonly subject?: string;
  /** One of them. */
  readonly role?: Role;
  readonly scopes?: readonly Scope[];
  readonly expiresAt?: string;
}

/** Who asks, and where. */
export interface CallerInfo {
  /** Null: this process is asked. */
  readonly server: string | null;
  readonly tenant: TenantId;
  readonly subject: string;
  readonly scopes: readonly Scope[];
  readonly key: KeyId | null;
}

export interface Administration {
  whoami(): Promise<CallerInfo>;
  createTenant(name: string, settings: TenantSettings): Promise<TenantResource>;
  listTenants(): Promise<readonly TenantResource[]>;
  getTenant(id: TenantId): Promise<TenantResource>;
  updateTenant(id: TenantId, settings: TenantSettings): Promise<TenantResource>;
  deleteTenant(id: TenantId): Promise<void>;
  createKey(tenant: TenantId, key: NewKey): Promise<IssuedKey>;
  listKeys(tenant: TenantId): Promise<readonly KeyResource[]>;
  getKey(tenant: TenantId, key: KeyId): Promise<KeyResource>;
  rotateKey(tenant: TenantId, key: KeyId, graceSeconds: number | undefined): Promise<IssuedKey>;
  revokeKey(tenant: TenantId, key: KeyId): Promise<KeyResource>;
}
