import { BulkheadError } from '@bulkhead/protocol';
import { given } from '../../../lib/given.ts';
import { checkTenant } from '../../../tenants/caller.ts';
import type { HandlersOf } from '../handler.ts';
import { authorityResource, changesPage, decisionResource, explanationResource, pageOf } from '../represent.ts';

export const authorityHandlers: HandlersOf<
  | 'getAuthority'
  | 'putPolicies'
  | 'checkPolicies'
  | 'diffPolicies'
  | 'replayDecisions'
  | 'disableSubject'
  | 'enableSubject'
  | 'putTool'
  | 'deleteTool'
  | 'putSecret'
  | 'deleteSecret'
  | 'listDecisions'
  | 'getDecision'
  | 'explainDecision'
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
  diffPolicies: async ({ service, caller, params: { tenant }, body: { policies, session, since, ...page } }) => {
    checkTenant(caller, tenant);
    const set = await service.authority.readPolicies(tenant, policies);
    return changesPage(await service.decisions.compare(tenant, filterOf({ session, since }), page, set));
  },
  replayDecisions: async ({ service, caller, params: { tenant }, body: { session, since, ...page } }) => {
    checkTenant(caller, tenant);
    // One that is gone has no decisions, not none.
    await service.tenants.get(tenant);
    return changesPage(await service.decisions.compare(tenant, filterOf({ session, since }), page));
  },
  disableSubject: async ({ service, caller, params: { tenant, subject }, expectedVersion }) => {
    checkTenant(caller, tenant);
    if (tenant === caller.tenant && subject === caller.subject) {
      throw new BulkheadError('invalid_request', 'You would lock yourself out.', {
        hint: 'Another administrator can do it.',
        details: { problems: ['params.subject: your own'] },
      });
    }
    return authorityResource(await service.authority.setSubjectDisabled(tenant, subject, true, expectedVersion));
  },
  enableSubject: async ({ service, caller, params: { tenant, subject }, expectedVersion }) => {
    checkTenant(caller, tenant);
    return authorityResource(await service.authority.setSubjectDisabled(tenant, subject, false, expectedVersion));
  },
  putTool: async ({ service, params: { tenant, tool }, body, expectedVersion }) =>
    authorityResource(await service.authority.putTool(tenant, tool, body, expectedVersion)),
  deleteTool: async ({ service, params: { tenant, tool }, expectedVersion }) =>
    authorityResource(await service.authority.putTool(tenant, tool, null, expectedVersion)),
  putSecret: async ({ service, params: { tenant, secret }, body, expectedVersion }) =>
    authorityResource(await service.authority.putSecret(tenant, secret, body.value, expectedVersion)),
  deleteSecret: async ({ service, params: { tenant, secret }, expectedVersion }) =>
    authorityResource(await service.authority.putSecret(tenant, secret, null, expectedVersion)),

  listDecisions: async ({ service, caller, query: { session, outcome, since, ...page } }) => {
    const filter = { ...filterOf({ session, since }), ...given({ outcome }) };
    return pageOf(await service.decisions.list(caller.tenant, filter, page), decisionResource);
  },
  getDecision: async ({ service, caller, params: { decision } }) =>
    decisionResource(await service.decisions.get(caller.tenant, decision)),
  explainDecision: async ({ service, caller, params }) => {
    const decision = await service.decisions.get(caller.tenant, params.decision);
    return explanationResource(decision, await service.decisions.explain(decision));
  },
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

function filterOf({ session, since }: { readonly session: string | undefined; readonly since: string | undefined }): {
  readonly session?: string;
  readonly sinceUnixMs?: number;
} {
  return given({ session, sinceUnixMs: since === undefined ? undefined : Date.parse(since) });
}
