// What sessions may reach beyond their machine, put together over what is kept: what tenants have set up, the decisions, the calls.

import { PolicyEngine } from './authority/policy-engine.ts';
import type { Config } from './config/config.ts';
import type { Keeping } from './keep-sessions.ts';
import { dnsResolver } from './egress/resolver.ts';
import { type Clock, systemClock } from './lib/clock.ts';
import { SessionEgress } from './sessions/session-egress.ts';
import { type SessionTools, attachAll } from './sessions/session-tools.ts';
import { StoredApprovals } from './sessions/stored-approvals.ts';
import { StoredDecisions } from './sessions/stored-decisions.ts';
import { ToolCalls } from './sessions/tool-calls.ts';
import { TenantAuthority } from './tools/tenant-authority.ts';

export interface Authority extends AsyncDisposable {
  readonly tenants: TenantAuthority;
  readonly decisions: StoredDecisions;
  readonly approvals: StoredApprovals;
  /** What answers the calls of sessions, and their connections. */
  readonly calls: SessionTools;
}

export function openAuthority(
  { region, approvalTimeoutMs }: Pick<Config, 'region' | 'approvalTimeoutMs'>,
  { store, turnKeys, encryption }: Keeping,
  clock: Clock = systemClock,
): Authority {
  const engine = new PolicyEngine();
  const tenants = new TenantAuthority({ store: store.authority, encryption, clock });
  // Asked again with an engine of its own: what many old policies make it forget are not those that are in use.
  const ofRecords = new PolicyEngine();
  const decisions = new StoredDecisions({ store: store.decisions, keys: turnKeys, clock, engine: ofRecords });
  const approvals = new StoredApprovals({ store: store.approvals, keys: turnKeys, timeoutMs: approvalTimeoutMs });
  const options = { engine, source: tenants, log: decisions, clock, region };
  const calls = attachAll(
    new ToolCalls({ ...options, approvals }),
    new SessionEgress({ ...options, resolver: dnsResolver() }),
  );
  return {
    tenants,
    decisions,
    approvals,
    calls,
    async [Symbol.asyncDispose]() {
      await approvals[Symbol.asyncDispose]();
      await tenants[Symbol.asyncDispose]();
    },
  };
}
