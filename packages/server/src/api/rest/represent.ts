// What we know of a resource as callers see it: field by field, so that what is added within does not get out.

import { isDeepStrictEqual } from 'node:util';
import type {
  ApprovalDetail,
  ApprovalResource,
  AuthorityResource,
  CheckpointResource,
  DecisionChangesPage,
  DecisionExplanation,
  DecisionResource,
  KeyResource,
  Labels,
  PortResource,
  SessionResource,
  TenantResource,
  TurnResource,
} from '@bulkhead/protocol';
import type { ApprovalFacts, Asked } from '../../sessions/stored-approvals.ts';
import type { Comparison, DecisionFacts, Explanation } from '../../sessions/stored-decisions.ts';
import type { KeptSnapshot } from '../../sessions/session-journal.ts';
import type { SessionRecord } from '../../sessions/session-record.ts';
import type { Page } from '../../lib/page.ts';
import type { AuthorityFacts } from '../../tools/tenant-authority.ts';
import type { ApiKey, Tenant } from '../../tenants/tenancy.ts';
import type { CallerPort } from '../caller-ports.ts';
import type { CallerTurn } from '../caller-sessions.ts';

export function time(unixMs: number): string {
  return new Date(unixMs).toISOString();
}

function timeOrNull(unixMs: number | null): string | null {
  return unixMs === null ? null : time(unixMs);
}

export function pageOf<Item, Told>(
  { items, nextCursor }: Page<Item>,
  represent: (item: Item) => Told,
): { readonly items: readonly Told[]; readonly nextCursor: string | null } {
  return { items: items.map((item) => represent(item)), nextCursor };
}

export function sessionResource(record: SessionRecord): SessionResource {
  const { id, tenant, subject, state, size, runtime, tier, turn, turnCount, parent, epoch, error } = record;
  const { idleMs, sleepMs, lifetimeMs } = record.timeLimits;
  return {
    id,
    tenant,
    subject,
    labels: { ...record.labels },
    grant: [...record.grant.operations],
    state,
    version: record.generation,
    size,
    runtime,
    tier,
    minimumTier: record.minimumTier,
    createdAt: time(record.createdAtUnixMs),
    activeAt: time(record.activeAtUnixMs),
    endedAt: timeOrNull(record.endedAtUnixMs),
    turn,
    turnCount,
    parent,
    epoch,
    timeLimits: { idleMs, sleepMs, lifetimeMs },
    launchMs: record.launch?.confirmedMs ?? null,
    error:
      error === null ? null : { ...error, ...(error.details === undefined ? {} : { details: { ...error.details } }) },
  };
}

export function checkpointResource({ id, name, createdAtUnixMs, bytes }: KeptSnapshot): CheckpointResource {
  return { id, name: name ?? '', createdAt: time(createdAtUnixMs), bytes };
}

export function turnResource({ id, session, state, startedAtUnixMs, endedAtUnixMs, result }: CallerTurn): TurnResource {
  return { id, session, state, startedAt: time(startedAtUnixMs), endedAt: timeOrNull(endedAtUnixMs), result };
}

export function tenantResource(tenant: Tenant): TenantResource {
  const { id, name, version, minimumTier, retentionDays } = tenant;
  return {
    id,
    name,
    version,
    quotas: { ...tenant.quotas },
    minimumTier,
    retentionDays,
    createdAt: time(tenant.createdAtUnixMs),
  };
}

export function keyResource(key: ApiKey): KeyResource {
  const { id, name, subject, scopes } = key;
  return {
    id,
    name,
    subject,
    scopes: [...scopes],
    createdAt: time(key.createdAtUnixMs),
    expiresAt: timeOrNull(key.expiresAtUnixMs),
    revokedAt: timeOrNull(key.revokedAtUnixMs),
    lastUsedAt: timeOrNull(key.lastUsedAtUnixMs),
  };
}

export function portResource({ id, port, path, expiresAtUnixMs }: CallerPort): PortResource {
  return { id, port, path, expiresAt: time(expiresAtUnixMs) };
}

export function authorityResource({
  version,
  policies,
  tools,
  secrets,
  disabledSubjects,
}: AuthorityFacts): AuthorityResource {
  return {
    version,
    policies,
    tools: tools.map(({ name, settings }) => ({ name, settings })),
    secrets: secrets.map(({ name, changedAtUnixMs }) => ({ name, changedAt: time(changedAtUnixMs) })),
    disabledSubjects: [...disabledSubjects],
  };
}

export function decisionResource(decision: DecisionFacts): DecisionResource {
  const { id, session, epoch, action, outcome, reason, policies, policyVersion, argumentsDigest, error } = decision;
  const { approval } = decision;
  return {
    id,
    session,
    epoch,
    action,
    outcome,
    reason,
    policies: [...policies],
    policyVersion,
    argumentsDigest,
    approval,
    decidedAt: time(decision.decidedAtUnixMs),
    endedAt: timeOrNull(decision.endedAtUnixMs),
    error,
    sentBytes: decision.sentBytes,
    receivedBytes: decision.receivedBytes,
  };
}

export function explanationResource(
  decision: DecisionFacts,
  { policies, grant, request }: Explanation,
): DecisionExplanation {
  return {
    decision: decisionResource(decision),
    policies: policies.map(({ id, text }) => ({ id, text })),
    grant: grant === null ? null : [...grant],
    asked: request === null ? null : askedOf(request),
  };
}

function nameOf(uid: unknown): { readonly type: string; readonly id: string } {
  const { type, id } = uid as { readonly type: string; readonly id: string }; // oxlint-disable-line typescript/no-unsafe-type-assertion -- written by the decision point
  return { type: type.replace(/^.*::/, ''), id };
}

/** What policies were asked, in the words of people: Cedar's are entities and their parents. */
function askedOf({
  principal,
  resource,
  context,
  entities,
}: NonNullable<Explanation['request']>): NonNullable<DecisionExplanation['asked']> {
  const entityOf = (uid: unknown): (typeof entities)[number] | undefined =>
    entities.find((entity) => isDeepStrictEqual(nameOf(entity.uid), nameOf(uid)));
  const session = entityOf(principal);
  const subject = session?.parents.map(nameOf).find(({ type }) => type === 'Subject')?.id ?? '';
  const within: { readonly type: string; readonly id: string }[] = [];
  for (let next = entityOf(resource)?.parents[0]; next !== undefined; next = entityOf(next)?.parents[0]) {
    within.push(nameOf(next));
    if (within.length >= entities.length) break;
  }
  return {
    session: {
      facts: { ...session?.attrs },
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- written by the decision point, from labels
      labels: { ...(session?.tags as Labels | undefined) },
      // As policies name it, with its tenant before it.
      subject: subject.slice(subject.indexOf('/') + 1),
    },
    resource: { ...nameOf(resource), within },
    context: { ...context },
  };
}

export function changesPage({ compared, notAsked, unreadable, changes, nextCursor }: Comparison): DecisionChangesPage {
  return {
    compared,
    notAsked,
    unreadable,
    items: changes.map(({ decision: { id, session, action, outcome, reason, policies, decidedAtUnixMs }, after }) => ({
      decision: id,
      session,
      action,
      decidedAt: time(decidedAtUnixMs),
      before: { outcome, reason, policies: [...policies] },
      after: { outcome: after.outcome, reason: after.reason, policies: [...after.policies] },
    })),
    nextCursor,
  };
}

export function approvalResource(approval: ApprovalFacts): ApprovalResource {
  const { id, state, decision, session, subject, action, policies, argumentsDigest, answeredBy, reason } = approval;
  return {
    id,
    state,
    decision,
    session,
    subject,
    action,
    policies: [...policies],
    argumentsDigest,
    createdAt: time(approval.createdAtUnixMs),
    expiresAt: time(approval.expiresAtUnixMs),
    answeredAt: timeOrNull(approval.answeredAtUnixMs),
    answeredBy,
    answeredWith: approval.answeredWith,
    reason,
  };
}

export function approvalDetail(approval: ApprovalFacts & Asked): ApprovalDetail {
  return { ...approvalResource(approval), resource: approval.resource, arguments: approval.arguments };
}
