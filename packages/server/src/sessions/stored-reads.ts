// Sessions and turns of a tenant as the store has them, whichever host they are on.

import type { Labels, SessionId, SessionState, TenantId, TurnEvent, TurnId, TurnResult } from '@bulkhead/protocol';
import type { Page, PageRequest } from '../lib/page.ts';
import type { SessionRecord } from './session-record.ts';

export interface SessionFilter {
  readonly states?: readonly SessionState[];
  readonly subject?: string;
  /** All of them; a value of null is any. */
  readonly labels?: Readonly<Record<string, string | null>>;
}

export interface SessionHost {
  /** It is this server. */
  readonly here: boolean;
  /** Where the server says that it can be reached; null when it says nothing. */
  readonly url: string | null;
}

export interface StoredSessions {
  /** Newest first, in an order that does not change. Errors: `invalid_request` for a cursor that is none. */
  list(tenant: TenantId, filter?: SessionFilter, page?: PageRequest): Promise<Page<SessionRecord>>;
  /** Errors: `not_found`. */
  get(tenant: TenantId, id: SessionId): Promise<SessionRecord>;
  /** The server that has the session. Errors: `not_found`, `host_unavailable` when it does not run. */
  hostOf(tenant: TenantId, id: SessionId): Promise<SessionHost>;
}

export interface StoredTurn {
  readonly id: TurnId;
  readonly session: SessionId;
  readonly state: 'running' | 'ended';
  readonly startedAtUnixMs: number;
  readonly endedAtUnixMs: number | null;
}

export interface TurnEventPage {
  readonly items: readonly TurnEvent[];
  /** The turn has ended and `items` has its last event. */
  readonly ended: boolean;
}

export interface StoredTurns {
  /** Oldest first. Errors: `invalid_request` for a cursor that is none. */
  list(tenant: TenantId, session: SessionId, page?: PageRequest): Promise<Page<StoredTurn>>;
  /** With its result when it has ended. Errors: `not_found`, `key_unavailable`. */
  get(tenant: TenantId, session: SessionId, turn: TurnId): Promise<StoredTurn & { readonly result: TurnResult | null }>;
  /** Those after `after`; none while the turn runs: its host has them. Errors: `not_found`, `key_unavailable`. */
  events(
    tenant: TenantId,
    session: SessionId,
    turn: TurnId,
    options?: { readonly after?: number; readonly limit?: number },
  ): Promise<TurnEventPage>;
}

/** What a session is labelled with; searched for, never interpreted. */
export type { Labels };
