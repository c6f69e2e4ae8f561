// What commands need of what sessions may reach, of what was decided, and of persons' answers.

import type {
  ApprovalDetail,
  ApprovalId,
  ApprovalResource,
  ApprovalState,
  AuthorityResource,
  DecisionChangesPage,
  DecisionExplanation,
  DecisionId,
  DecisionResource,
  PolicyCheck,
  SessionId,
  TenantId,
} from '@bulkhead/protocol';

/** Which recorded decisions are asked again, a page at a time, newest first. */
export interface Recorded {
  readonly session?: SessionId;
  readonly since?: string;
  readonly limit: number;
  readonly cursor?: string;
}

export interface AuthorityAccess {
  get(tenant: TenantId): Promise<AuthorityResource>;
  setPolicies(tenant: TenantId, policies: string, ifVersion: number | undefined): Promise<AuthorityResource>;
  checkPolicies(tenant: TenantId, policies: string): Promise<PolicyCheck>;
  diffPolicies(tenant: TenantId, policies: string, recorded: Recorded): Promise<DecisionChangesPage>;
  replayDecisions(tenant: TenantId, recorded: Recorded): Promise<DecisionChangesPage>;
  setTool(tenant: TenantId, name: string, settings: unknown): Promise<AuthorityResource>;
  removeTool(tenant: TenantId, name: string): Promise<AuthorityResource>;
  setSecret(tenant: TenantId, name: string, value: string): Promise<AuthorityResource>;
  removeSecret(tenant: TenantId, name: string): Promise<AuthorityResource>;
  setSubjectDisabled(tenant: TenantId, subject: string, disabled: boolean): Promise<AuthorityResource>;
  /** At most so many, newest first. */
  listDecisions(filter: {
    readonly session?: SessionId;
    readonly outcome?: DecisionResource['outcome'];
    readonly since?: string;
    readonly maxCount: number;
  }): Promise<readonly DecisionResource[]>;
  getDecision(id: DecisionId): Promise<DecisionResource>;
  explainDecision(id: DecisionId): Promise<DecisionExplanation>;
  listApprovals(filter: {
    readonly state?: ApprovalState;
    readonly session?: SessionId;
    readonly maxCount: number;
  }): Promise<readonly ApprovalResource[]>;
  getApproval(id: ApprovalId): Promise<ApprovalDetail>;
  answerApproval(id: ApprovalId, state: 'approved' | 'refused', reason: string | undefined): Promise<ApprovalResource>;
}
