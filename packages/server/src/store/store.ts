// Every query of Bulkhead, by what it is about. Rows are plain: what a record, a sealed text or a hash means is for those who keep them here.
//
// A query of a tenant's rows names the tenant, and its transaction does too: row-level security refuses what the query should forget.

import { ApiKeyStore } from './api-key-store.ts';
import { ApprovalStore } from './approval-store.ts';
import { AuthorityStore } from './authority-store.ts';
import type { Database } from './database.ts';
import { DecisionStore } from './decision-store.ts';
import { HostStore } from './host-store.ts';
import { IdempotencyStore } from './idempotency-store.ts';
import type { Lease } from './lease.ts';
import { SessionStore } from './session-store.ts';
import { SnapshotStore } from './snapshot-store.ts';
import { TenantStore } from './tenant-store.ts';
import { TurnStore } from './turn-store.ts';

export class Store {
  readonly sessions: SessionStore;
  readonly turns: TurnStore;
  readonly snapshots: SnapshotStore;
  readonly tenants: TenantStore;
  readonly keys: ApiKeyStore;
  readonly idempotency: IdempotencyStore;
  readonly hosts: HostStore;
  readonly authority: AuthorityStore;
  readonly decisions: DecisionStore;
  readonly approvals: ApprovalStore;
  /** The lease that every change of this host's sessions is made under. */
  readonly host: string;

  constructor(database: Database, lease: Lease) {
    this.host = lease.name;
    this.sessions = new SessionStore(database, lease);
    this.turns = new TurnStore(database, lease);
    this.snapshots = new SnapshotStore(database, lease);
    this.tenants = new TenantStore(database);
    this.keys = new ApiKeyStore(database);
    this.idempotency = new IdempotencyStore(database, lease);
    this.hosts = new HostStore(database, lease);
    this.authority = new AuthorityStore(database);
    this.decisions = new DecisionStore(database);
    this.approvals = new ApprovalStore(database, lease);
  }
}
