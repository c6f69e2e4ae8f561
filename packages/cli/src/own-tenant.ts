import type { TenantId } from '@bulkhead/protocol';
import { parseIdOf } from './parse-values.ts';
import type { VerbCall } from './verbs.ts';

/** The one that is named, or the caller's own. Errors: `invalid_request`. */
export async function ownTenant({ backend, input }: Pick<VerbCall, 'backend' | 'input'>): Promise<TenantId> {
  const named = input.text('tenant');
  return named === undefined ? (await backend.administration.whoami()).tenant : parseIdOf('tenant', named);
}
