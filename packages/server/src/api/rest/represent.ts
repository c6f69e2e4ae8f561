// What we know of a resource as callers see it: field by field, so that what is added within does not get out.

import type {
  AuthorityResource,
  CheckpointResource,
  DecisionResource,
  KeyResource,
  PortResource,
  SessionResource,
  TenantResource,
  TurnResource,
} from '@bulkhead/protocol';
import type { DecisionFacts } from '../../sessions/stored-decisions.ts';
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

export function authorityResource({ version, policies, tools, secrets }: AuthorityFacts): AuthorityResource {
  return {
    version,
    policies,
    tools: tools.map(({ name, settings }) => ({ name, settings })),
    secrets: secrets.map(({ name, changedAtUnixMs }) => ({ name, changedAt: time(changedAtUnixMs) })),
  };
}

export function decisionResource(decision: DecisionFacts): DecisionResource {
  const { id, session, epoch, action, outcome, reason, policies, policyVersion, argumentsDigest, error } = decision;
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
    decidedAt: time(decision.decidedAtUnixMs),
    endedAt: timeOrNull(decision.endedAtUnixMs),
    error,
    sentBytes: decision.sentBytes,
    receivedBytes: decision.receivedBytes,
  };
}
