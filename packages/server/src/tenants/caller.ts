// Who asks, and what that lets them do. Everything that is not allowed here is refused.

import { BulkheadError, type KeyId, type Scope, type TenantId } from '@bulkhead/protocol';

export interface Caller {
  readonly tenant: TenantId;
  /** On whose behalf: sessions belong to it. */
  readonly subject: string;
  readonly scopes: ReadonlySet<Scope>;
  /** Null when the caller came with a token. */
  readonly key: KeyId | null;
}

/** Errors: `forbidden`. */
export function checkScope(caller: Caller, scope: Scope): void {
  if (caller.scopes.has(scope)) return;
  throw new BulkheadError('forbidden', `This needs the scope ${scope}.`, {
    hint: 'Use a key or a token that has it.',
    details: { scope },
  });
}

/** Another tenant does not exist, except for who administers the installation. Errors: `not_found`. */
export function checkTenant(caller: Caller, tenant: TenantId): void {
  if (caller.tenant === tenant || caller.scopes.has('installation:admin')) return;
  throw noTenant(tenant);
}

/** A session of the tenant's other subjects needs `sessions:any`. Errors: `forbidden`. */
export function checkSubject(caller: Caller, { subject }: { readonly subject: string }): void {
  if (subject !== caller.subject) checkScope(caller, 'sessions:any');
}

export function noTenant(tenant: string): BulkheadError {
  return new BulkheadError('not_found', `There is no tenant ${tenant}.`);
}
