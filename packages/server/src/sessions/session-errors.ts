// Why a session does not do what it is asked, from its record alone.

import { BulkheadError, type SessionState } from '@bulkhead/protocol';
import type { SessionRecord } from './session-record.ts';

/** `session_ended`: it is over, or will be. */
export function endedError({ state, error }: SessionRecord): BulkheadError {
  const reason = error?.code ?? null;
  const message = reason === null ? 'The session was terminated.' : 'The session has failed.';
  return new BulkheadError('session_ended', message, { hint: 'Create another session.', details: { state, reason } });
}

/** `state_conflict`: not now. */
export function busyError({ state, turn }: SessionRecord): BulkheadError {
  const [message, hint] = notNow[state] ?? [`The session is ${state}.`, 'Wait until it is ready.'];
  return new BulkheadError('state_conflict', message, { hint, details: { state, ...(turn === null ? {} : { turn }) } });
}

/** `precondition_failed`: it is not what the caller has read. */
export function changedError({ generation }: SessionRecord): BulkheadError {
  return new BulkheadError('precondition_failed', 'The session has changed since it was read.', {
    hint: 'Read it again and decide again.',
    details: { version: generation },
  });
}

const notNow: Partial<Record<SessionState, readonly [message: string, hint: string]>> = {
  busy: ['A turn is running in this session.', 'A session runs one turn at a time: wait for its end, or interrupt it.'],
  suspended: ['The session is suspended.', 'Resume it first.'],
  creating: ['The session is being created.', 'Wait until it is ready.'],
};

/** Of a session that lives in memory alone. */
export function notKeptError(): BulkheadError {
  return new BulkheadError('unsupported', 'This session cannot be suspended: nothing keeps it.', {
    hint: 'Create it with `bulkhead session create`.',
  });
}
