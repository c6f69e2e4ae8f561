import type {
  ApprovalDetail,
  ApprovalId,
  ApprovalResource,
  AuthorityResource,
  DecisionChangesPage,
  DecisionExplanation,
  DecisionId,
  DecisionResource,
  PolicyCheck,
  TenantId,
} from '@bulkhead/protocol';
import type { Authority, Bulkhead, ToolSettingsRequest } from '@bulkhead/sdk';
import type { AuthorityAccess, Recorded } from './authority-access.ts';

const pageMaxCount = 200;

export class ServerAuthority implements AuthorityAccess {
  readonly #client: Bulkhead;
  readonly #call: { readonly signal: AbortSignal };

  constructor(client: Bulkhead, signal: AbortSignal) {
    this.#client = client;
    this.#call = { signal };
  }

  async get(tenant: TenantId): Promise<AuthorityResource> {
    return await this.#of(tenant).get(this.#call);
  }

  async setPolicies(tenant: TenantId, policies: string, ifVersion: number | undefined): Promise<AuthorityResource> {
    const options = ifVersion === undefined ? this.#call : { ...this.#call, ifVersion };
    return await this.#of(tenant).setPolicies(policies, options);
  }

  async checkPolicies(tenant: TenantId, policies: string): Promise<PolicyCheck> {
    return await this.#of(tenant).checkPolicies(policies, this.#call);
  }

  async diffPolicies(tenant: TenantId, policies: string, recorded: Recorded): Promise<DecisionChangesPage> {
    return await this.#of(tenant).diffPolicies(policies, { ...recorded, ...this.#call });
  }

  async replayDecisions(tenant: TenantId, recorded: Recorded): Promise<DecisionChangesPage> {
    return await this.#of(tenant).replayDecisions({ ...recorded, ...this.#call });
  }

  async setTool(tenant: TenantId, name: string, settings: unknown): Promise<AuthorityResource> {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the server knows what kinds of tools it has, and says what is wrong
    return await this.#of(tenant).setTool(name, settings as ToolSettingsRequest, this.#call);
  }

  async removeTool(tenant: TenantId, name: string): Promise<AuthorityResource> {
    return await this.#of(tenant).removeTool(name, this.#call);
  }

  async setSecret(tenant: TenantId, name: string, value: string): Promise<AuthorityResource> {
    return await this.#of(tenant).setSecret(name, value, this.#call);
  }

  async removeSecret(tenant: TenantId, name: string): Promise<AuthorityResource> {
    return await this.#of(tenant).removeSecret(name, this.#call);
  }

  async setSubjectDisabled(tenant: TenantId, subject: string, disabled: boolean): Promise<AuthorityResource> {
    const authority = this.#of(tenant);
    return disabled
      ? await authority.disableSubject(subject, this.#call)
      : await authority.enableSubject(subject, this.#call);
  }

  async listDecisions({
    maxCount,
    ...filter
  }: Parameters<AuthorityAccess['listDecisions']>[0]): Promise<readonly DecisionResource[]> {
    const limit = Math.min(maxCount, pageMaxCount);
    return await this.#client.decisions.list({ ...filter, limit, ...this.#call }).all(maxCount);
  }

  async getDecision(id: DecisionId): Promise<DecisionResource> {
    return await this.#client.decisions.get(id, this.#call);
  }

  async explainDecision(id: DecisionId): Promise<DecisionExplanation> {
    return await this.#client.decisions.explain(id, this.#call);
  }

  async listApprovals({
    maxCount,
    ...filter
  }: Parameters<AuthorityAccess['listApprovals']>[0]): Promise<readonly ApprovalResource[]> {
    const limit = Math.min(maxCount, pageMaxCount);
    return await this.#client.approvals.list({ ...filter, limit, ...this.#call }).all(maxCount);
  }

  async getApproval(id: ApprovalId): Promise<ApprovalDetail> {
    return await this.#client.approvals.get(id, this.#call);
  }

  async answerApproval(
    id: ApprovalId,
    state: 'approved' | 'refused',
    reason: string | undefined,
  ): Promise<ApprovalResource> {
    const { approvals } = this.#client;
    if (state === 'refused') return await approvals.refuse(id, reason ?? '', this.#call);
    return await approvals.approve(id, reason === undefined ? this.#call : { reason, ...this.#call });
  }

  #of(tenant: TenantId): Authority {
    return this.#client.tenants.authority(tenant);
  }
}
