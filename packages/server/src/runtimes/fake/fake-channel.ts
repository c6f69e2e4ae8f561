import { BulkheadError } from '@bulkhead/protocol';
import type { ChannelEnd } from '../../guest/guest.ts';

/** What a call on a channel that has ended rejects with. */
export function channelError(end: ChannelEnd): BulkheadError {
  switch (end.reason) {
    case 'closed':
      return new BulkheadError('session_ended', 'The session was terminated.');
    case 'ended':
      return new BulkheadError('machine_lost', 'The machine ended unexpectedly.');
    case 'protocol_violation':
      return new BulkheadError('guest_protocol_violation', 'The machine broke the channel protocol.');
    case 'unresponsive':
      return new BulkheadError('guest_unresponsive', 'The machine stopped answering.');
  }
}
