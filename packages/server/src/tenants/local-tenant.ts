import { type TenantId, parseId } from '@bulkhead/protocol';

/** Whoever works on this host without a server, through the command line, is one tenant. No key and no token leads to it. */
export const localTenant: TenantId = ((): TenantId => {
  const id = parseId('tenant', `ten_${'0'.repeat(26)}`);
  if (id === undefined) throw new Error('The id of the local tenant is not valid');
  return id;
})();
