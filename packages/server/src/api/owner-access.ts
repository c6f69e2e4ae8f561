// The owner of the state directory may do everything on this host already: its own commands, asking a server instead of doing it themselves, are the
// same tenant and the same subject as without a server.

import { createHash, timingSafeEqual } from 'node:crypto';
import { scopes } from '@bulkhead/protocol';
import { localSubject } from '../sessions/session-record.ts';
import type { Caller } from '../tenants/caller.ts';
import { localTenant } from '../tenants/local-tenant.ts';
import type { Access } from '../tenants/tenancy.ts';

/** Who acts on this host by itself. */
export const owner: Caller = { tenant: localTenant, subject: localSubject, scopes: new Set(scopes), key: null };

/** `access`, and the owner's credential beside it. */
export function withOwner(access: Access, credential: string): Access {
  const expected = digest(`Bearer ${credential}`);
  return {
    authenticate: async (authorization) =>
      authorization !== undefined && timingSafeEqual(digest(authorization), expected)
        ? owner
        : await access.authenticate(authorization),
    spend: (caller) => access.spend(caller),
  };
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
