import { given } from '../../../lib/given.ts';
import type { HandlersOf } from '../handler.ts';
import { approvalDetail, approvalResource, pageOf } from '../represent.ts';

export const approvalHandlers: HandlersOf<
  'listApprovals' | 'listSessionApprovals' | 'getApproval' | 'approveCall' | 'refuseCall'
> = {
  listApprovals: async ({ service, caller, query: { state, session, ...page } }) =>
    pageOf(await service.approvals.list(caller, given({ state, session }), page), approvalResource),
  listSessionApprovals: async ({ service, caller, params, query: { state, ...page } }) => {
    // One that the caller may not see has no list.
    const { id: session } = await service.sessions.get(caller, params.session);
    return pageOf(await service.approvals.list(caller, given({ state, session }), page), approvalResource);
  },
  getApproval: async ({ service, caller, params: { approval } }) =>
    approvalDetail(await service.approvals.get(caller, approval)),
  approveCall: async ({ service, caller, params: { approval }, body: { reason } }) =>
    approvalResource(await service.approvals.answer(caller, approval, 'approved', reason)),
  refuseCall: async ({ service, caller, params: { approval }, body: { reason } }) =>
    approvalResource(await service.approvals.answer(caller, approval, 'refused', reason)),
};
