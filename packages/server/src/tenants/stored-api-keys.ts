import { BulkheadError, type KeyId, type Scope, type TenantId, limits, makeId, scopes } from '@bulkhead/protocol';
import type { Clock } from '../lib/clock.ts';
import { type Page, type PageRequest, readCursor, toPage } from '../lib/page.ts';
import type { ShortMemory } from '../lib/short-memory.ts';
import type { ApiKeyRow, ApiKeyStore } from '../store/api-key-store.ts';
import { type Caller, checkScope, noTenant } from './caller.ts';
import { makeSecret } from './key-secret.ts';
import type { ApiKey, ApiKeyRequest, ApiKeys, IssuedApiKey } from './tenancy.ts';

export interface StoredApiKeysOptions {
  readonly store: ApiKeyStore;
  readonly clock: Clock;
  /** What is known of keys for a moment: what changes here is forgotten at once. */
  readonly known: ShortMemory<ApiKeyRow | undefined>;
}

/** Of one tenant, that can be used. */
const keysMaxCount = 200;
const nameMaxLength = 128;
const subjectPattern = /^[\x21-\x7e]+$/;

export class StoredApiKeys implements ApiKeys {
  readonly #store: ApiKeyStore;
  readonly #clock: Clock;
  readonly #known: ShortMemory<ApiKeyRow | undefined>;

  constructor({ store, clock, known }: StoredApiKeysOptions) {
    this.#store = store;
    this.#clock = clock;
    this.#known = known;
  }

  async create(caller: Caller, tenant: TenantId, request: ApiKeyRequest): Promise<IssuedApiKey> {
    const { name, subject = caller.subject, expiresAtUnixMs = null } = request;
    const now = this.#clock.unixMs();
    const field = findProblem({ name, subject }) ?? (expiresAtUnixMs !== null && expiresAtUnixMs <= now && 'expiresAt');
    if (typeof field === 'string') {
      throw new BulkheadError('invalid_request', `The ${field} of a key is not valid.`, { details: { field } });
    }
    const wanted = scopes.filter((scope) => request.scopes.includes(scope));
    checkGives(caller, { tenant, subject, scopes: wanted });
    const id = makeId('key');
    const { secret, hash } = makeSecret(id);
    const row = { id, tenant, name, subject, scopes: wanted, hash, createdAtUnixMs: now, expiresAtUnixMs };
    if (!(await this.#store.insert(row, keysMaxCount))) throw noTenant(tenant);
    return { key: toKey({ ...row, former: null, revokedAtUnixMs: null, lastUsedAtUnixMs: null }), secret };
  }

  async get(tenant: TenantId, id: KeyId): Promise<ApiKey> {
    return toKey(await this.#row(tenant, id));
  }

  async list(tenant: TenantId, page: PageRequest = {}): Promise<Page<ApiKey>> {
    const { limit = limits.pageDefaultCount, cursor } = page;
    const after = cursor === undefined ? {} : { after: readCursor(cursor) };
    const rows = await this.#store.page(tenant, { ...after, limit: limit + 1 });
    return toPage(rows.map(toKey), limit, ({ createdAtUnixMs, id }) => ({ unixMs: createdAtUnixMs, id }));
  }

  async rotate(caller: Caller, tenant: TenantId, id: KeyId, graceSeconds: number): Promise<IssuedApiKey> {
    if (!Number.isInteger(graceSeconds) || graceSeconds < 0 || graceSeconds > limits.keyGraceMaxSeconds) {
      throw new BulkheadError('invalid_request', `The grace is 0 to ${limits.keyGraceMaxSeconds} seconds.`, {
        details: { field: 'graceSeconds', minimum: 0, maximum: limits.keyGraceMaxSeconds },
      });
    }
    const before = await this.#row(tenant, id);
    const key = toKey(before);
    checkGives(caller, key);
    const now = this.#clock.unixMs();
    if (key.revokedAtUnixMs !== null || (key.expiresAtUnixMs ?? Number.POSITIVE_INFINITY) <= now) {
      throw notUsable('The key has been revoked or has expired.', 'Create another key.');
    }
    const { secret, hash } = makeSecret(id);
    const after = await this.#store.rotate(before, hash, now + graceSeconds * 1000);
    this.#known.forget(id);
    if (after === undefined) {
      throw notUsable('The key was rotated or revoked by somebody else meanwhile.', 'Look at it again.');
    }
    return { key: toKey(after), secret };
  }

  async revoke(tenant: TenantId, id: KeyId): Promise<ApiKey> {
    const row = await this.#store.revoke(tenant, id, this.#clock.unixMs());
    this.#known.forget(id);
    if (row === undefined) throw noKey(id);
    return toKey(row);
  }

  async #row(tenant: TenantId, id: KeyId): Promise<ApiKeyRow> {
    const row = await this.#store.get(tenant, id);
    if (row === undefined) throw noKey(id);
    return row;
  }
}

function findProblem({ name, subject }: { readonly name: string; readonly subject: string }): string | undefined {
  const isName = name.length >= 1 && name.length <= nameMaxLength && name.isWellFormed() && !/\p{Cc}/u.test(name);
  if (!isName) return 'name';
  return subject.length <= limits.subjectMaxLength && subjectPattern.test(subject) ? undefined : 'subject';
}

/** Nobody hands out more than they have: no scope, and no other subject's sessions. Errors: `forbidden`. */
function checkGives(
  caller: Caller,
  key: { readonly tenant: TenantId; readonly subject: string; readonly scopes: readonly Scope[] },
): void {
  if (key.tenant !== caller.tenant) checkScope(caller, 'installation:admin');
  else if (key.subject !== caller.subject) checkScope(caller, 'sessions:any');
  for (const scope of key.scopes) checkScope(caller, scope);
}

function noKey(id: KeyId): BulkheadError {
  return new BulkheadError('not_found', `There is no key ${id}.`);
}

function notUsable(message: string, hint: string): BulkheadError {
  return new BulkheadError('state_conflict', message, { hint });
}

function toKey(row: ApiKeyRow): ApiKey {
  const { name, subject, createdAtUnixMs, expiresAtUnixMs, revokedAtUnixMs, lastUsedAtUnixMs } = row;
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- rows are written by this class alone, from ids
  const { id, tenant } = row as ApiKeyRow & { readonly id: KeyId; readonly tenant: TenantId };
  return {
    id,
    tenant,
    name,
    subject,
    scopes: knownScopes(row.scopes),
    createdAtUnixMs,
    expiresAtUnixMs,
    revokedAtUnixMs,
    lastUsedAtUnixMs,
  };
}

/** Those that still mean something. */
export function knownScopes(names: readonly string[]): readonly Scope[] {
  return scopes.filter((scope) => names.includes(scope));
}
