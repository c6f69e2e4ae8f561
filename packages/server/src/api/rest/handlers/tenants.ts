import { BulkheadError, type Routes, roles } from '@bulkhead/protocol';
import { given } from '../../../lib/given.ts';
import { checkTenant } from '../../../tenants/caller.ts';
import type { TenantChange } from '../../../tenants/tenancy.ts';
import type { Call, HandlersOf } from '../handler.ts';
import { keyResource, pageOf, tenantResource } from '../represent.ts';

export const tenantHandlers: HandlersOf<
  | 'createTenant'
  | 'listTenants'
  | 'getTenant'
  | 'updateTenant'
  | 'deleteTenant'
  | 'createKey'
  | 'listKeys'
  | 'getKey'
  | 'rotateKey'
  | 'revokeKey'
> = {
  createTenant: async ({ service, body }) =>
    tenantResource(await service.tenants.create({ ...changeOf(body), name: body.name })),
  listTenants: async ({ service, query }) => pageOf(await service.tenants.list(query), tenantResource),
  getTenant: async ({ service, caller, params: { tenant } }) => {
    checkTenant(caller, tenant);
    return tenantResource(await service.tenants.get(tenant));
  },
  updateTenant: async ({ service, params: { tenant }, body, expectedVersion }) =>
    tenantResource(await service.tenants.update(tenant, changeOf(body), expectedVersion)),
  deleteTenant: async ({ service, params: { tenant }, expectedVersion }) =>
    await service.tenants.delete(tenant, expectedVersion),

  createKey: async ({ service, caller, params: { tenant }, body }) => {
    checkTenant(caller, tenant);
    const { name, subject, role, scopes, expiresAt } = body;
    if ((role === undefined) === (scopes === undefined)) {
      throw new BulkheadError('invalid_request', 'A key has either a role or scopes.', {
        hint: `Roles: ${Object.keys(roles).join(', ')}.`,
        details: { problems: ['body: either role or scopes'] },
      });
    }
    const { key, secret } = await service.keys.create(caller, tenant, {
      name,
      scopes: role === undefined ? (scopes ?? []) : roles[role],
      ...(subject === undefined ? {} : { subject }),
      ...(expiresAt === undefined ? {} : { expiresAtUnixMs: Date.parse(expiresAt) }),
    });
    return { ...keyResource(key), secret };
  },
  listKeys: async ({ service, caller, params: { tenant }, query }) => {
    checkTenant(caller, tenant);
    // One that is gone has no list, not an empty one.
    await service.tenants.get(tenant);
    return pageOf(await service.keys.list(tenant, query), keyResource);
  },
  getKey: async ({ service, caller, params: { tenant, key } }) => {
    checkTenant(caller, tenant);
    return keyResource(await service.keys.get(tenant, key));
  },
  rotateKey: async ({ service, caller, params: { tenant, key }, body }) => {
    checkTenant(caller, tenant);
    const issued = await service.keys.rotate(caller, tenant, key, body.graceSeconds);
    return { ...keyResource(issued.key), secret: issued.secret };
  },
  revokeKey: async ({ service, caller, params: { tenant, key } }) => {
    checkTenant(caller, tenant);
    return keyResource(await service.keys.revoke(tenant, key));
  },
};

function changeOf({ quotas, minimumTier, retentionDays }: Call<Routes['updateTenant']>['body']): TenantChange {
  return {
    ...given({ minimumTier, retentionDays }),
    ...(quotas === undefined ? {} : { quotas: given(quotas) }),
  };
}
