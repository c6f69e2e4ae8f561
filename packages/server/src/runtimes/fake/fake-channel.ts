import { BulkheadError, type ErrorCode } from '@bulkhead/protocol';
import type { ChannelEnd } from '../../guest/guest.ts';

const ends: Readonly<Record<ChannelEnd['reason'], readonly [ErrorCode, string]>> = {
  closed: ['session_ended', 'The session was terminated.'],
  ended: ['machine_lost', 'The machine ended unexpectedly.'],
  protocol_violation: ['guest_protocol_violation', 'The machine broke the channel protocol.'],
  unresponsive: ['guest_unresponsive', 'The machine stopped answering.'],
};

/** What a call on a channel that has ended rejects with. */
export function channelError(end: ChannelEnd): BulkheadError {
  const [code, message] = ends[end.reason];
  return new BulkheadError(code, message);
}
