import { type SessionId, type TenantId, type TimeLimits, defaultTimeLimits, makeId } from '@bulkhead/protocol';
import type { SessionRecord } from '../../src/sessions/session-record.ts';

/** The record of a new session. */
export function sessionRecord(change: Partial<SessionRecord> = {}): SessionRecord {
  const id: SessionId = makeId('session');
  const tenant: TenantId = makeId('tenant');
  const timeLimits: TimeLimits = defaultTimeLimits;
  return {
    id,
    tenant,
    subject: 'somebody',
    labels: {},
    grant: { operations: [] },
    size: 'small',
    runtime: 'fake',
    tier: 'none',
    minimumTier: 'none',
    state: 'creating',
    generation: 1,
    createdAtUnixMs: Date.now(),
    activeAtUnixMs: Date.now(),
    endedAtUnixMs: null,
    machine: null,
    bootId: null,
    launch: null,
    turn: null,
    turnCount: 0,
    parent: null,
    epoch: 0,
    snapshot: null,
    timeLimits,
    error: null,
    ...change,
  };
}
