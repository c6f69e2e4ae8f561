// The tables as TypeScript sees them.
//
// Every table of tenants' rows has row-level security, forced on its owner too: a transaction sees the rows of the tenant that it names
// in `bulkhead.tenant`, `*` for the operator's own work, nothing when it names none.
//
// Records are `json`, not `jsonb`: an error may quote a guest's U+0000, which `jsonb` refuses. What turns were given and told is sealed.

import type { Quotas } from '@bulkhead/protocol';
import type { ColumnType, Generated } from 'kysely';

/** Written as its JSON text, read parsed. */
type Document = ColumnType<unknown, string>;
/** PostgreSQL's `bigint`, below 2^53 in everything that we keep. */
type BigInteger = ColumnType<string, number, string>;
type DatabaseTime = Generated<Date>;

export interface Schema {
  readonly sessions: {
    readonly id: string;
    readonly tenant: string;
    /** Which data directory has its files. */
    readonly host: string;
    readonly state: string;
    readonly generation: BigInteger;
    readonly record: Document;
    readonly subject: string;
    readonly labels: ColumnType<unknown, string>;
    readonly memory_mib: number;
    readonly scratch_mib: number;
    /** As in the record; the order of lists. */
    readonly created_at_unix_ms: BigInteger;
    readonly created_at: DatabaseTime;
    readonly changed_at: DatabaseTime;
    /** By its state. */
    readonly ended: ColumnType<boolean, never>;
  };
  readonly turns: {
    readonly id: string;
    readonly session: string;
    readonly tenant: string;
    /** The key that the turn is sealed with; null for one of before there were any: JSON in the clear. */
    readonly sealed_with: string | null;
    readonly request: Buffer;
    /** Null while it runs. */
    readonly outcome: ColumnType<Buffer | null, null, Buffer>;
    readonly started_at: DatabaseTime;
    readonly started_at_unix_ms: ColumnType<string, never>;
    readonly ended_at: ColumnType<Date | null, null>;
  };
  readonly turn_events: {
    readonly turn: string;
    readonly tenant: string;
    /** The place of the first event of the row in the turn, from 0. */
    readonly sequence: number;
    /** Several events, sealed; one in the clear where the turn is. */
    readonly event: Buffer;
  };
  readonly snapshots: {
    readonly id: string;
    readonly session: string;
    readonly tenant: string;
    readonly host: string;
    readonly kind: string;
    /** Of a checkpoint. */
    readonly name: string | null;
    /** Null while it is being written. */
    readonly bytes: ColumnType<string | null, null, string | null>;
    readonly epoch: ColumnType<number | null, number | null>;
    readonly created_at_unix_ms: BigInteger;
  };
  readonly leases: {
    readonly name: string;
    readonly holder: string;
    readonly generation: BigInteger;
    readonly expires_at: Date;
  };
  readonly tenants: {
    readonly id: string;
    readonly name: string;
    readonly version: BigInteger;
    readonly quotas: ColumnType<Quotas, string, string>;
    readonly minimum_tier: string | null;
    readonly retention_days: number;
    readonly created_at_unix_ms: BigInteger;
    /** From here on it does not exist. The row stays, so that what is left of it elsewhere is found and removed. */
    readonly deleted_at_unix_ms: ColumnType<string | null, null, number>;
  };
  readonly api_keys: {
    readonly id: string;
    readonly tenant: string;
    readonly name: string;
    readonly subject: string;
    readonly scopes: readonly string[];
    readonly hash: Buffer;
    /** Of the secret before, which still works for a while. */
    readonly former_hash: ColumnType<Buffer | null, null, Buffer | null>;
    readonly former_until_unix_ms: ColumnType<string | null, null, number>;
    readonly created_at_unix_ms: BigInteger;
    readonly expires_at_unix_ms: ColumnType<string | null, number | null>;
    readonly revoked_at_unix_ms: ColumnType<string | null, null, number>;
    readonly last_used_at_unix_ms: ColumnType<string | null, null, number>;
  };
  readonly idempotency_keys: {
    readonly tenant: string;
    readonly subject: string;
    readonly key: string;
    readonly fingerprint: Buffer;
    readonly state: 'running' | 'done' | 'unknown';
    /** The lease of the server that does the work. */
    readonly holder: string;
    readonly holder_generation: BigInteger;
    readonly sealed_with: string | null;
    readonly answer: Buffer | null;
    readonly expires_at: Date;
  };
  readonly hosts: {
    /** Of its lease. */
    readonly name: string;
    readonly url: string;
  };
  readonly authority: {
    readonly tenant: string;
    /** One more with every change of a tenant's tools, secrets, policies and disabled subjects. */
    readonly version: BigInteger;
    readonly policies: string;
    readonly disabled_subjects: Generated<readonly string[]>;
  };
  readonly tools: {
    readonly tenant: string;
    readonly name: string;
    readonly settings: ColumnType<unknown, string, string>;
  };
  readonly secrets: {
    readonly tenant: string;
    readonly name: string;
    readonly wrapped_key: Buffer;
    readonly sealed: Buffer;
    readonly changed_at_unix_ms: BigInteger;
  };
  readonly policy_sets: {
    readonly tenant: string;
    /** The digest of both. */
    readonly version: string;
    readonly schema: string;
    readonly policies: string;
  };
  readonly decisions: {
    readonly id: string;
    readonly tenant: string;
    readonly session: string;
    readonly epoch: number;
    readonly action: string;
    readonly outcome: string;
    readonly reason: string;
    readonly policies: readonly string[];
    /** Null where no policy was asked, as what follows. */
    readonly policy_version: string | null;
    readonly arguments_digest: string | null;
    readonly sealed_with: string | null;
    /** What the policies were asked, sealed: it has the arguments. */
    readonly request: Buffer | null;
    readonly decided_at_unix_ms: BigInteger;
    readonly ended_at_unix_ms: ColumnType<string | null, null, number>;
    /** The code of the error that the call ended with. */
    readonly error: ColumnType<string | null, null, string | null>;
    readonly sent_bytes: ColumnType<string | null, null, number | null>;
    readonly received_bytes: ColumnType<string | null, null, number | null>;
    readonly approval: string | null;
  };
  readonly approvals: {
    readonly id: string;
    readonly tenant: string;
    readonly session: string;
    /** Whose session it is. */
    readonly subject: string;
    readonly decision: string;
    readonly action: string;
    readonly policies: readonly string[];
    readonly arguments_digest: string;
    readonly sealed_with: string;
    /** The arguments and what they work on, sealed. */
    readonly request: Buffer;
    /** As it was written; what is `pending` may be too late by now (`approval-store.ts`). */
    readonly state: string;
    /** The lease of the server whose call waits. */
    readonly holder: string;
    readonly holder_generation: BigInteger;
    readonly created_at: Date;
    readonly expires_at: Date;
    readonly answered_at: ColumnType<Date | null, null, Date>;
    readonly answered_by: ColumnType<string | null, null, string>;
    readonly answered_with: ColumnType<string | null, null, string | null>;
    readonly reason: ColumnType<string | null, null, string | null>;
  };
}
