// What sessions of this host may reach, by its owner.

import {
  type ApprovalDetail,
  type ApprovalId,
  type ApprovalResource,
  type AuthorityResource,
  BulkheadError,
  type DecisionChangesPage,
  type DecisionExplanation,
  type DecisionId,
  type DecisionResource,
  type PolicyCheck,
  type TenantId,
  toolSettingsSchema,
} from '@bulkhead/protocol';
import {
  type Authority,
  type Bulkhead,
  type Page,
  type PageRequest,
  approvalDetail,
  approvalResource,
  authorityResource,
  changesPage,
  decisionResource,
  explanationResource,
  owner,
} from '@bulkhead/server';
import type { AuthorityAccess, Recorded } from './authority-access.ts';

const pageMaxCount = 200;

export class LocalAuthority implements AuthorityAccess {
  readonly #bulkhead: Bulkhead;

  constructor(bulkhead: Bulkhead) {
    this.#bulkhead = bulkhead;
  }

  async get(tenant: TenantId): Promise<AuthorityResource> {
    return authorityResource(await this.#authority.tenants.facts(tenant));
  }

  async setPolicies(tenant: TenantId, policies: string, ifVersion: number | undefined): Promise<AuthorityResource> {
    return authorityResource(await this.#authority.tenants.putPolicies(tenant, policies, ifVersion));
  }

  async checkPolicies(tenant: TenantId, policies: string): Promise<PolicyCheck> {
    const { problems, warnings, policies: named } = await this.#authority.tenants.checkPolicies(tenant, policies);
    return { problems: [...problems], warnings: [...warnings], policies: [...named] };
  }

  async diffPolicies(tenant: TenantId, policies: string, recorded: Recorded): Promise<DecisionChangesPage> {
    return await this.#compare(tenant, recorded, policies);
  }

  async replayDecisions(tenant: TenantId, recorded: Recorded): Promise<DecisionChangesPage> {
    return await this.#compare(tenant, recorded);
  }

  async #compare(tenant: TenantId, recorded: Recorded, policies?: string): Promise<DecisionChangesPage> {
    const { tenants, decisions } = this.#authority;
    const { limit, cursor, session, since } = recorded;
    const set = policies === undefined ? undefined : await tenants.readPolicies(tenant, policies);
    const filter = { ...(session === undefined ? {} : { session }), ...sinceOf(since) };
    const page = { limit, ...(cursor === undefined ? {} : { cursor }) };
    return changesPage(await decisions.compare(tenant, filter, page, set));
  }

  async setTool(tenant: TenantId, name: string, settings: unknown): Promise<AuthorityResource> {
    const parsed = toolSettingsSchema.safeParse(settings);
    if (parsed.success) return authorityResource(await this.#authority.tenants.putTool(tenant, name, parsed.data));
    const problems = parsed.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`);
    throw new BulkheadError('invalid_request', `The settings of the tool are not valid:\n${problems.join('\n')}`, {
      details: { problems },
    });
  }

  async removeTool(tenant: TenantId, name: string): Promise<AuthorityResource> {
    return authorityResource(await this.#authority.tenants.putTool(tenant, name, null));
  }

  async setSecret(tenant: TenantId, name: string, value: string): Promise<AuthorityResource> {
    return authorityResource(await this.#authority.tenants.putSecret(tenant, name, value));
  }

  async removeSecret(tenant: TenantId, name: string): Promise<AuthorityResource> {
    return authorityResource(await this.#authority.tenants.putSecret(tenant, name, null));
  }

  async setSubjectDisabled(tenant: TenantId, subject: string, disabled: boolean): Promise<AuthorityResource> {
    return authorityResource(await this.#authority.tenants.setSubjectDisabled(tenant, subject, disabled));
  }

  async listDecisions({
    maxCount,
    since,
    ...filter
  }: Parameters<AuthorityAccess['listDecisions']>[0]): Promise<readonly DecisionResource[]> {
    const { decisions } = this.#authority;
    const wanted = { ...filter, ...sinceOf(since) };
    return (await take(maxCount, (page) => decisions.list(owner.tenant, wanted, page))).map(decisionResource);
  }

  async getDecision(id: DecisionId): Promise<DecisionResource> {
    return decisionResource(await this.#authority.decisions.get(owner.tenant, id));
  }

  async explainDecision(id: DecisionId): Promise<DecisionExplanation> {
    const decision = await this.#authority.decisions.get(owner.tenant, id);
    return explanationResource(decision, await this.#authority.decisions.explain(decision));
  }

  async listApprovals({
    maxCount,
    ...filter
  }: Parameters<AuthorityAccess['listApprovals']>[0]): Promise<readonly ApprovalResource[]> {
    const { approvals } = this.#authority;
    return (await take(maxCount, (page) => approvals.list(owner.tenant, filter, page))).map(approvalResource);
  }

  async getApproval(id: ApprovalId): Promise<ApprovalDetail> {
    const facts = await this.#authority.approvals.get(owner.tenant, id);
    return approvalDetail({ ...facts, ...(await this.#authority.approvals.asked(facts)) });
  }

  async answerApproval(
    id: ApprovalId,
    state: 'approved' | 'refused',
    reason: string | undefined,
  ): Promise<ApprovalResource> {
    const answer = { state, by: owner.subject, key: null, reason: reason ?? null };
    return approvalResource(await this.#authority.approvals.answer(owner.tenant, id, answer));
  }

  get #authority(): Authority {
    const { authority } = this.#bulkhead;
    if (authority === undefined) throw new BulkheadError('internal', 'It was opened without what is kept.');
    return authority;
  }
}

function sinceOf(since: string | undefined): { readonly sinceUnixMs?: number } {
  return since === undefined ? {} : { sinceUnixMs: Date.parse(since) };
}

async function take<Item>(
  maxCount: number,
  list: (page: PageRequest) => Promise<Page<Item>>,
): Promise<readonly Item[]> {
  const items: Item[] = [];
  let cursor: string | null = null;
  do {
    const limit = Math.min(maxCount - items.length, pageMaxCount);
    const page: Page<Item> = await list(cursor === null ? { limit } : { limit, cursor });
    items.push(...page.items);
    cursor = page.nextCursor;
  } while (cursor !== null && items.length < maxCount);
  return items;
}
