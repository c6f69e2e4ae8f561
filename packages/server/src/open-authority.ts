// What sessions may reach beyond their machine, put together over what is kept: what tenants have set up, the decisions, the calls.

import { PolicyEngine } from './authority/policy-engine.ts';
import type { Config } from './config/config.ts';
import type { Keeping } from './keep-sessions.ts';
import { dnsResolver } from './egress/resolver.ts';
import { type Clock, systemClock } from './lib/clock.ts';
import { StoredDecisions } from './sessions/stored-decisions.ts';
import { SessionEgress } from './sessions/session-egress.ts';
import { type SessionTools, attachAll } from './sessions/session-tools.ts';
import { ToolCalls } from './sessions/tool-calls.ts';
import { TenantAuthority } from './tools/tenant-authority.ts';

export interface Authority extends AsyncDisposable {
  readonly tenants: TenantAuthority;
  readonly decisions: StoredDecisions;
  /** What answers the calls of sessions, and their connections. */
  readonly calls: SessionTools;
}

export function openAuthority(
  { region }: Pick<Config, 'region'>,
  { store, turnKeys, encryption }: Keeping,
  clock: Clock = systemClock,
): Authority {
  const engine = new PolicyEngine();
  const tenants = new TenantAuthority({ store: store.authority, encryption, clock });
  const decisions = new StoredDecisions({ store: store.decisions, keys: turnKeys, clock, engine });
  const options = { engine, source: tenants, log: decisions, clock, region };
  const calls = attachAll(new ToolCalls(options), new SessionEgress({ ...options, resolver: dnsResolver() }));
  return { tenants, decisions, calls, [Symbol.asyncDispose]: () => tenants[Symbol.asyncDispose]() };
}
