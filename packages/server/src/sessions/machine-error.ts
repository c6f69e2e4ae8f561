import { BulkheadError, type ErrorCode, type ErrorJson } from '@bulkhead/protocol';
import type { ChannelEnd } from '../guest/guest.ts';
import type { MachineExit } from '../runtimes/runtime.ts';

const exits: Readonly<Record<MachineExit['reason'], readonly [ErrorCode, string]>> = {
  destroyed: ['session_ended', 'The session was terminated.'],
  crashed: ['machine_lost', 'The machine ended unexpectedly.'],
  protocol_violation: ['guest_protocol_violation', 'The machine broke the channel protocol and was destroyed.'],
  unresponsive: ['guest_unresponsive', 'The machine stopped answering and was destroyed.'],
};

/** What the end of a machine is to whoever works in its session. The detail quotes the VMM or the guest, so it stays inside. */
export function machineError(exit: MachineExit): BulkheadError {
  const [code, message] = exits[exit.reason];
  return new BulkheadError(code, message, {
    hint: 'The session has ended and its files are gone; create another.',
    cause: new Error(exit.detail),
  });
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
