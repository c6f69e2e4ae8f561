// Who asks: an API key or a token in the header `Authorization`. Whatever is wrong with it, the answer is the same.

import { BulkheadError, type TenantId, parseId } from '@bulkhead/protocol';
import type { Clock } from '../lib/clock.ts';
import type { ShortMemory } from '../lib/short-memory.ts';
import type { ApiKeyRow, ApiKeyStore } from '../store/api-key-store.ts';
import type { KnownTenant } from '../store/tenant-store.ts';
import type { Caller } from './caller.ts';
import { type KeySecret, parseSecret, sameHash } from './key-secret.ts';
import { localTenant } from './local-tenant.ts';
import type { RateLimits } from './rate-limits.ts';
import { knownScopes } from './stored-api-keys.ts';
import type { Access } from './tenancy.ts';
import type { TokenVerifier } from './token-verifier.ts';

export interface CallerAccessOptions {
  readonly clock: Clock;
  readonly keys: ShortMemory<ApiKeyRow | undefined>;
  /** By id or by name. */
  readonly tenants: ShortMemory<KnownTenant | undefined>;
  readonly keyStore: ApiKeyStore;
  /** Without it no token is taken. */
  readonly tokens: TokenVerifier | undefined;
  readonly rates: RateLimits;
}

const credentialPattern = /^Bearer ([A-Za-z0-9._~+/=-]{1,16384})$/i;
/** When a key was used is written down at most so often. */
const usedEveryMs = 60_000;
/** Compared with where there is no key, so that the answer takes as long. */
const noHash = Buffer.alloc(32);

export class CallerAccess implements Access {
  readonly #options: CallerAccessOptions;

  constructor(options: CallerAccessOptions) {
    this.#options = options;
  }

  async authenticate(authorization: string | undefined): Promise<Caller> {
    const [, credential] = credentialPattern.exec(authorization ?? '') ?? [];
    if (credential === undefined) throw unauthenticated();
    const secret = parseSecret(credential);
    if (secret !== undefined) return await this.#byKey(secret);
    // A secret with a typing error is not sent to be understood as something else.
    if (credential.startsWith('bh_')) throw unauthenticated();
    return await this.#byToken(credential);
  }

  async spend({ tenant }: Caller): Promise<void> {
    const row = await this.#options.tenants.get(tenant);
    if (row === undefined) throw unauthenticated();
    this.#options.rates.take(tenant, row.quotas.requestsPerSecond);
  }

  async #byKey({ id, hash }: KeySecret): Promise<Caller> {
    const row = await this.#options.keys.get(id);
    const now = this.#options.clock.unixMs();
    const isCurrent = sameHash(hash, row?.hash ?? noHash);
    const isFormer = sameHash(hash, row?.former?.hash ?? noHash) && now < (row?.former?.untilUnixMs ?? 0);
    if (row === undefined || !(isCurrent || isFormer)) throw unauthenticated();
    if (row.revokedAtUnixMs !== null || now >= (row.expiresAtUnixMs ?? Number.POSITIVE_INFINITY)) {
      throw unauthenticated();
    }
    const tenant = await this.#tenantOf(row.subject, row.tenant);
    this.#used(row, now);
    return { tenant, subject: row.subject, scopes: new Set(knownScopes(row.scopes)), key: id };
  }

  async #byToken(token: string): Promise<Caller> {
    const { tokens } = this.#options;
    if (tokens === undefined) throw unauthenticated();
    const verified = await tokens.verify(token).catch((error: unknown) => {
      throw unauthenticated(error);
    });
    const tenant = await this.#tenantOf(verified.subject, verified.tenant);
    return { tenant, subject: verified.subject, scopes: new Set(verified.scopes), key: null };
  }

  /** That is there, and has not disabled the subject. */
  async #tenantOf(subject: string, idOrName: string): Promise<TenantId> {
    const row = await this.#options.tenants.get(idOrName);
    const id = row === undefined || row.deletedAtUnixMs !== null ? undefined : parseId('tenant', row.id);
    if (row === undefined || id === undefined || id === localTenant) throw unauthenticated();
    if (row.disabledSubjects.includes(subject)) throw unauthenticated();
    return id;
  }

  /** Nobody waits for it, and it does not matter when it is lost. */
  #used({ tenant, id, lastUsedAtUnixMs }: ApiKeyRow, now: number): void {
    if (now - (lastUsedAtUnixMs ?? 0) < usedEveryMs) return;
    const { keys, keyStore } = this.#options;
    keyStore.used(tenant, id, now).then(
      () => keys.forget(id),
      () => undefined,
    );
  }
}

function unauthenticated(cause?: unknown): BulkheadError {
  return new BulkheadError('unauthenticated', 'The request has no credential that is valid.', {
    hint: 'Send `Authorization: Bearer KEY`.',
    ...(cause === undefined ? {} : { cause }),
  });
}
