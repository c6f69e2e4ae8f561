import { BulkheadError, type ErrorJson } from '@bulkhead/protocol';
import type { ChannelEnd } from '../guest/guest.ts';
import type { MachineExit } from '../runtimes/runtime.ts';

/** What the end of a machine is to whoever works in its session. The detail quotes the VMM or the guest, so it stays inside. */
export function machineError(exit: MachineExit): BulkheadError {
  const cause = new Error(exit.detail);
  const hint = 'The session has ended and its files are gone; create another.';
  switch (exit.reason) {
    case 'destroyed':
      return new BulkheadError('session_ended', 'The session was terminated.', { cause });
    case 'crashed':
      return new BulkheadError('machine_lost', 'The machine ended unexpectedly.', { hint, cause });
    case 'protocol_violation':
      return new BulkheadError(
        'guest_protocol_violation',
        'The machine broke the channel protocol and was destroyed.',
        { hint, cause },
      );
    case 'unresponsive':
      return new BulkheadError('guest_unresponsive', 'The machine stopped answering and was destroyed.', {
        hint,
        cause,
      });
  }
}

/** Why a machine has to go when its channel has ended. */
export function exitReason(end: ChannelEnd): MachineExit['reason'] {
  return end.reason === 'closed' ? 'destroyed' : end.reason === 'ended' ? 'crashed' : end.reason;
}

/** Any failure as a caller may see it: what is not a `BulkheadError` is ours to explain, not to quote. */
export function errorJson(error: unknown): ErrorJson {
  if (BulkheadError.is(error)) return error.toJSON();
  return { code: 'internal', message: 'Bulkhead failed.' };
}
