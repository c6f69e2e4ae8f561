// Who may answer for a person: somebody else than who runs what is asked about. Nobody approves the calls of a session of their own, and no credential
// that runs sessions approves at all, unless it could make itself another one: who may write keys, or owns the host.

import { type ApprovalId, type ApprovalState, BulkheadError, type SessionId } from '@bulkhead/protocol';
import type { Page, PageRequest } from '../lib/page.ts';
import type { ApprovalFacts, Asked, StoredApprovals } from '../sessions/stored-approvals.ts';
import { type Caller, checkScope } from '../tenants/caller.ts';
import { localTenant } from '../tenants/local-tenant.ts';

export class CallerApprovals {
  readonly #approvals: StoredApprovals;

  constructor(approvals: StoredApprovals) {
    this.#approvals = approvals;
  }

  async list(
    { tenant }: Caller,
    filter: { readonly state?: ApprovalState; readonly session?: SessionId },
    page: PageRequest,
  ): Promise<Page<ApprovalFacts>> {
    return await this.#approvals.list(tenant, filter, page);
  }

  /** Errors: `not_found`, `key_unavailable`. */
  async get({ tenant }: Caller, id: ApprovalId): Promise<ApprovalFacts & Asked> {
    const facts = await this.#approvals.get(tenant, id);
    return { ...facts, ...(await this.#approvals.asked(facts)) };
  }

  /** Errors: `not_found`; `forbidden` for who runs the session; `state_conflict` when it is not pending any more. */
  async answer(
    caller: Caller,
    id: ApprovalId,
    state: 'approved' | 'refused',
    reason: string | undefined,
  ): Promise<ApprovalFacts> {
    const { tenant, subject, key } = caller;
    checkScope(caller, 'approvals:write');
    checkApprover(caller, await this.#approvals.get(tenant, id));
    return await this.#approvals.answer(tenant, id, { state, by: subject, key, reason: reason ?? null });
  }
}

/** Errors: `forbidden`. */
function checkApprover(caller: Caller, { subject }: ApprovalFacts): void {
  // Only the owner of the host is of that tenant: whoever has its files may do everything on it.
  if (caller.tenant === localTenant) return;
  if (subject === caller.subject) {
    throw new BulkheadError('forbidden', 'Nobody answers for the calls of their own sessions.', {
      hint: 'Another subject has to: a key of the role approver.',
    });
  }
  if (caller.scopes.has('sessions:write') && !caller.scopes.has('keys:write')) {
    throw new BulkheadError('forbidden', 'A credential that runs sessions does not answer for their calls.', {
      hint: 'Use one without sessions:write: a key of the role approver.',
    });
  }
}
