// All that a dialect of the API is given: the use cases and who may call them. How they are put together is not its business.

import type { Accelerator, RuntimeName, Tier } from '@bulkhead/protocol';
import type { Access, ApiKeys, Idempotency, Tenants } from '../tenants/tenancy.ts';
import type { Attachments } from './attachments.ts';
import type { StoredDecisions } from '../sessions/stored-decisions.ts';
import type { TenantAuthority } from '../tools/tenant-authority.ts';
import type { CallerApprovals } from './caller-approvals.ts';
import type { CallerSessions } from './caller-sessions.ts';
import type { CallerPorts } from './caller-ports.ts';
import type { Connections } from './connections.ts';

export interface Service {
  readonly version: string;
  readonly sessions: CallerSessions;
  readonly ports: CallerPorts;
  /** Who is at work in sessions beside turns. */
  readonly attachments: Attachments;
  readonly access: Access;
  readonly tenants: Tenants;
  readonly keys: ApiKeys;
  readonly idempotency: Idempotency;
  /** What tenants have set up for their sessions, and what was decided by it. */
  readonly authority: Pick<
    TenantAuthority,
    'facts' | 'putTool' | 'putSecret' | 'putPolicies' | 'checkPolicies' | 'readPolicies' | 'setSubjectDisabled'
  >;
  readonly decisions: Pick<StoredDecisions, 'get' | 'list' | 'replay' | 'explain' | 'compare'>;
  /** Calls that wait for a person. */
  readonly approvals: CallerApprovals;
  /** Streams that tenants have open. */
  readonly connections: Connections;
  /** What makes machines here. */
  runtimes(): Promise<readonly RuntimeFacts[]>;
  /** The guest images that are here, newest first. */
  templates(): Promise<readonly TemplateFacts[]>;
  readiness(): Readiness;
  /** Aborted when the server stops: streams end, requests that come are refused. */
  readonly stopping: AbortSignal;
}

export interface RuntimeFacts {
  readonly runtime: RuntimeName;
  readonly tier: Tier;
  readonly accelerator: Accelerator;
  readonly memorySuspend: boolean;
  readonly fork: boolean;
  readonly network: string;
}

export interface TemplateFacts {
  readonly digest: string;
  readonly kernelVersion: string;
  readonly builtAt: string;
  readonly packageCount: number;
}

export interface Readiness {
  readonly status: 'ready' | 'starting' | 'stopping' | 'unavailable';
  /** Why it is not ready. */
  readonly reasons: readonly string[];
}
