import { BulkheadError } from '@bulkhead/protocol';
import { checkTenant } from '../../../tenants/caller.ts';
import type { HandlersOf } from '../handler.ts';
import { authorityResource, decisionResource, pageOf } from '../represent.ts';

export const authorityHandlers: HandlersOf<
  | 'getAuthority'
  | 'putPolicies'
  | 'checkPolicies'
  | 'putTool'
  | 'deleteTool'
  | 'putSecret'
  | 'deleteSecret'
  | 'listDecisions'
  | 'getDecision'
  | 'replayDecision'
> = {
  getAuthority: async ({ service, caller, params: { tenant } }) => {
    checkTenant(caller, tenant);
    return authorityResource(await service.authority.facts(tenant));
  },
  putPolicies: async ({ service, caller, params: { tenant }, body, expectedVersion }) => {
    checkTenant(caller, tenant);
    return authorityResource(await service.authority.putPolicies(tenant, body.policies, expectedVersion));
  },
  checkPolicies: async ({ service, caller, params: { tenant }, body }) => {
    checkTenant(caller, tenant);
    return await service.authority.checkPolicies(tenant, body.policies);
  },
  putTool: async ({ service, params: { tenant, tool }, body, expectedVersion }) =>
    authorityResource(await service.authority.putTool(tenant, tool, body, expectedVersion)),
  deleteTool: async ({ service, params: { tenant, tool }, expectedVersion }) =>
    authorityResource(await service.authority.putTool(tenant, tool, null, expectedVersion)),
  putSecret: async ({ service, params: { tenant, secret }, body, expectedVersion }) =>
    authorityResource(await service.authority.putSecret(tenant, secret, body.value, expectedVersion)),
  deleteSecret: async ({ service, params: { tenant, secret }, expectedVersion }) =>
    authorityResource(await service.authority.putSecret(tenant, secret, null, expectedVersion)),

  listDecisions: async ({ service, caller, query: { session, outcome, ...page } }) => {
    const filter = { ...(session === undefined ? {} : { session }), ...(outcome === undefined ? {} : { outcome }) };
    return pageOf(await service.decisions.list(caller.tenant, filter, page), decisionResource);
  },
  getDecision: async ({ service, caller, params: { decision } }) =>
    decisionResource(await service.decisions.get(caller.tenant, decision)),
  replayDecision: async ({ service, caller, params }) => {
    const decision = await service.decisions.get(caller.tenant, params.decision);
    const replay = await service.decisions.replay(decision);
    if (replay === undefined) {
      throw new BulkheadError('state_conflict', 'No policy was asked for this decision.', {
        hint: 'Its `reason` says why not.',
      });
    }
    const { same, answer, context } = replay;
    return { same, outcome: answer.outcome, policies: answer.policies, context };
  },
};
