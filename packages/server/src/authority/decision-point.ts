// The one place where it is decided whether a session may do something with a tool, now, with these arguments. A decision is bound to the digest
// of the arguments it was made on; whoever carries it out is given exactly those. Nothing is remembered between two calls: a policy, a grant or a
// subject that has changed counts from the next call on, after a session has slept as well.

import type { DecisionId, SessionId, TenantId, Tier } from '@bulkhead/protocol';
import { makeId } from '@bulkhead/protocol';
import { type Arguments, parseArguments } from './arguments.ts';
import { cedarNamespace } from './cedar-schema.ts';
import { type Grant, isGranted } from './grant.ts';
import { checkArguments, visibleArguments } from './parameters.ts';
import type { PolicyAnswer, PolicyEngine, PolicyRequest } from './policy-engine.ts';
import type { PolicySet } from './policy-set.ts';
import { type OperationDescription, type Resource, actionName } from './tool-description.ts';

/** What policies may know of a session: the host's knowledge, nothing that the guest says. */
export interface SessionFacts {
  readonly id: SessionId;
  readonly tenant: TenantId;
  readonly tenantName: string;
  readonly subject: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly region: string;
  readonly tier: Tier;
  readonly runtime: string;
  readonly ageSeconds: number;
  readonly turnCount: number;
  readonly isFork: boolean;
  readonly grant: Grant;
  /** The tenant has disabled the subject; nothing is allowed then. */
  readonly subjectDisabled?: boolean;
}

/** Why no policy is asked. */
export type Refusal = 'unknown' | 'grant' | 'subject';

export interface ToolCall {
  readonly tool: string;
  readonly operation: string;
  readonly description: OperationDescription;
  /** As they came from the guest. */
  readonly argumentBytes: Uint8Array;
  /** What the call works on, from the arguments that were checked. */
  readonly resourceOf: (checked: Arguments) => Resource;
}

export interface Decision {
  readonly id: DecisionId;
  readonly outcome: 'allow' | 'deny' | 'ask';
  readonly reason: PolicyAnswer['reason'] | Refusal;
  readonly policies: readonly string[];
  readonly policySet: PolicySet;
  readonly action: string;
  readonly resource: Resource;
  readonly argumentsDigest: string;
  /** What the policies were asked: a replay asks them again. */
  readonly request: PolicyRequest;
}

/** The decision, and the arguments that it is about. Errors: `invalid_request`, `limit_exceeded` for arguments that are not the operation's. */
export function decide(
  engine: PolicyEngine,
  policies: PolicySet,
  session: SessionFacts,
  call: ToolCall,
): { readonly decision: Decision; readonly checked: Arguments } {
  const { tool, operation, description } = call;
  const checked = checkArguments(description.parameters, parseArguments(call.argumentBytes));
  const resource = call.resourceOf(checked);
  const action = actionName(tool, operation);
  const request = writeRequest(session, action, resource, visibleArguments(description.parameters, checked));
  const refusal = findRefusal(session, tool, operation);
  const answer =
    refusal === undefined
      ? engine.decide(policies, request)
      : { outcome: 'deny' as const, reason: refusal, policies: [] };
  const decision: Decision = {
    id: makeId('decision'),
    ...answer,
    policySet: policies,
    action,
    resource,
    argumentsDigest: checked.digest,
    request,
  };
  return { decision, checked };
}

/** What comes before every policy: whose session it is, and what that was granted. */
export function findRefusal(
  { subjectDisabled, grant }: Pick<SessionFacts, 'subjectDisabled' | 'grant'>,
  tool: string,
  operation: string,
): 'grant' | 'subject' | undefined {
  if (subjectDisabled === true) return 'subject';
  return isGranted(grant, tool, operation) ? undefined : 'grant';
}

function uid(type: string, id: string): { readonly type: string; readonly id: string } {
  return { type: `${cedarNamespace}::${type}`, id };
}

function writeRequest(
  session: SessionFacts,
  action: string,
  resource: Resource,
  context: PolicyRequest['context'],
): PolicyRequest {
  const principal = uid('Session', session.id);
  const tenant = uid('Tenant', session.tenant);
  // Two tenants may each have a subject of one name.
  const subject = uid('Subject', `${session.tenant}/${session.subject}`);
  const { region, tier, runtime, ageSeconds, turnCount, isFork } = session;
  const attrs = { region, tier, runtime, ageSeconds, turnCount, isFork };
  const within = resource.within.map(({ type, id }) => uid(type, id));
  return {
    principal,
    action: uid('Action', action),
    resource: uid(resource.type, resource.id),
    context,
    entities: [
      { uid: tenant, attrs: { name: session.tenantName }, parents: [] },
      { uid: subject, attrs: {}, parents: [tenant] },
      { uid: principal, attrs, parents: [tenant, subject], tags: { ...session.labels } },
      { uid: uid(resource.type, resource.id), attrs: {}, parents: within.slice(0, 1) },
      ...within.map((parent, index) => ({ uid: parent, attrs: {}, parents: within.slice(index + 1, index + 2) })),
    ],
  };
}
