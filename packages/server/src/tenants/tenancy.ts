// What the service needs of tenants: all of it for whoever translates a dialect into use cases.

import type { KeyId, Quotas, Scope, TenantId, Tier } from '@bulkhead/protocol';
import type { Page, PageRequest } from '../lib/page.ts';
import type { Caller } from './caller.ts';

export interface Tenant {
  readonly id: TenantId;
  /** Unique among the tenants of an installation. */
  readonly name: string;
  /** One more with every change. */
  readonly version: number;
  /** `limits.quotaMaximum` is no bound. */
  readonly quotas: Quotas;
  readonly minimumTier: Tier | null;
  readonly retentionDays: number;
  readonly createdAtUnixMs: number;
}

export type TenantChange = Partial<Pick<Tenant, 'minimumTier' | 'retentionDays'>> & {
  readonly quotas?: Partial<Quotas>;
};

export interface Tenants {
  /** What is not given is as configured. Errors: `state_conflict` when the name is taken. */
  create(request: TenantChange & { readonly name: string }): Promise<Tenant>;
  /** Errors: `not_found`. */
  get(id: TenantId): Promise<Tenant>;
  /** Oldest first. Errors: `invalid_request` for a cursor that is none. */
  list(page?: PageRequest): Promise<Page<Tenant>>;
  /** Errors: `not_found`; `precondition_failed` when the version is another one. */
  update(id: TenantId, change: TenantChange, expectedVersion?: number): Promise<Tenant>;
  /**
   * Ends every session, revokes every key, removes what was kept and destroys the keys it was sealed with. Idempotent: what could not be
   * removed now, on another host say, the reconciler removes. Errors: `not_found` when there never was one; `precondition_failed`.
   */
  delete(id: TenantId, expectedVersion?: number): Promise<void>;
}

export interface ApiKey {
  readonly id: KeyId;
  readonly tenant: TenantId;
  readonly name: string;
  readonly subject: string;
  readonly scopes: readonly Scope[];
  readonly createdAtUnixMs: number;
  readonly expiresAtUnixMs: number | null;
  readonly revokedAtUnixMs: number | null;
  /** Coarse. */
  readonly lastUsedAtUnixMs: number | null;
}

/** The secret is nowhere else. */
export interface IssuedApiKey {
  readonly key: ApiKey;
  readonly secret: string;
}

export interface ApiKeyRequest {
  readonly name: string;
  /** The caller's own when none is given; another one needs `sessions:any`. */
  readonly subject?: string;
  /** No more than the caller has. */
  readonly scopes: readonly Scope[];
  readonly expiresAtUnixMs?: number;
}

export interface ApiKeys {
  /** Errors: `not_found`, `invalid_request`, `forbidden` for more than the caller has, `quota_exceeded`. */
  create(caller: Caller, tenant: TenantId, request: ApiKeyRequest): Promise<IssuedApiKey>;
  /** Errors: `not_found`. */
  get(tenant: TenantId, id: KeyId): Promise<ApiKey>;
  /** Oldest first. */
  list(tenant: TenantId, page?: PageRequest): Promise<Page<ApiKey>>;
  /** A new secret; the one before it works for `graceSeconds` more. Errors: `not_found`, `forbidden`, `state_conflict` when it is revoked or has expired. */
  rotate(caller: Caller, tenant: TenantId, id: KeyId, graceSeconds: number): Promise<IssuedApiKey>;
  /** At once on this server, within two seconds on the others; idempotent. Errors: `not_found`. */
  revoke(tenant: TenantId, id: KeyId): Promise<ApiKey>;
}

export interface Access {
  /** Of the header `Authorization`. Errors: `unauthenticated`, the same whatever was wrong; `store_unavailable`. */
  authenticate(authorization: string | undefined): Promise<Caller>;
  /** One request of the tenant's rate. Errors: `rate_limited` with `details.retryAfterMs`. */
  spend(caller: Caller): Promise<void>;
}

/** An answer as it is kept: what is sent again to who asks again. */
export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export interface Idempotency {
  /**
   * The answer of `work`, which runs once for the key: who asks again gets the recorded one, who asks meanwhile waits for it. An error that
   * says that nothing was done is not kept. Errors: those of `work`, `invalid_request`, `idempotency_conflict`: the key was used for another request, or nobody
   * knows whether the first one was done (`details.state`).
   */
  run(caller: Caller, key: string, fingerprint: Uint8Array, work: () => Promise<Answer>): Promise<Answer>;
}
