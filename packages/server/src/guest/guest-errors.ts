// From what a guest or its channel does to the errors that a caller sees.

import { BulkheadError, type ErrorCode } from '@bulkhead/protocol';
import { printable } from '../lib/printable.ts';
import { channelLimits } from './channel-limits.ts';
import type { ChannelEnd } from './guest.ts';
import type { GuestErrorCode } from './messages.ts';

const endErrors: Readonly<Record<ChannelEnd['reason'], { readonly code: ErrorCode; readonly message: string }>> = {
  closed: { code: 'session_ended', message: 'The session has ended' },
  ended: { code: 'machine_lost', message: 'The machine ended unexpectedly' },
  protocol_violation: { code: 'guest_protocol_violation', message: 'The machine broke the channel protocol' },
  unresponsive: { code: 'guest_unresponsive', message: 'The machine stopped answering' },
};

/** What a call rejects with when its channel has ended. */
export function endError(end: ChannelEnd): BulkheadError {
  const { code, message } = endErrors[end.reason];
  return new BulkheadError(code, end.detail === '' ? message : `${message}: ${end.detail}`, {
    hint: 'Start a new session; the machine of this one is gone.',
  });
}

const callErrors: Readonly<Record<GuestErrorCode, ErrorCode>> = {
  invalid: 'invalid_request',
  not_found: 'not_found',
  exists: 'state_conflict',
  denied: 'file_error',
  no_space: 'file_error',
  not_a_directory: 'file_error',
  is_a_directory: 'file_error',
  too_large: 'limit_exceeded',
  busy: 'state_conflict',
  cancelled: 'cancelled',
  limit: 'limit_exceeded',
  io: 'file_error',
  refused: 'port_unreachable',
  reset: 'port_unreachable',
};

/**
 * A refusal by the guest. `details`: `op`, `guestCode`, and where there is one `path`. The guest's own words follow the
 * colon, shortened and without control characters; they are not to be believed.
 */
export function refusalError(
  op: string,
  guestCode: GuestErrorCode,
  guestMessage: string,
  path?: string,
): BulkheadError {
  const isFile = op.startsWith('file.');
  const code = isFile && guestCode !== 'busy' && guestCode !== 'cancelled' ? 'file_error' : callErrors[guestCode];
  const subject = path === undefined ? op : `${op} of ${JSON.stringify(printable(path, 200))}`;
  const words = printable(guestMessage, channelLimits.errorMessageMaxLength);
  return new BulkheadError(code, `${subject}: ${guestCode}${words === '' ? '' : ` (${words})`}`, {
    details: { op, guestCode, ...(path === undefined ? {} : { path }) },
  });
}

export function cancelledError(what: string, signal?: AbortSignal): BulkheadError {
  return new BulkheadError('cancelled', `${what} was cancelled`, { cause: signal?.reason });
}

export function throwIfCancelled(what: string, signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw cancelledError(what, signal);
}
