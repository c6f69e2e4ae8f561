// How a restored machine becomes one that there is only once.

import { createHash, randomBytes } from 'node:crypto';
import type { MachineId, SessionId } from '@bulkhead/protocol';
import type { Confirmation, Guest } from '../guest/guest.ts';

/** A confirmation that took no longer bounds the error of the guest's clock well enough. */
const identifyFastMs = 40;
const identifyMaxCount = 3;

/** What a machine is named after: the session that has it, or itself while nobody does. */
export type Whose = SessionId | MachineId;

export interface Uniqueness {
  /** The epoch that the guest is in; 0 for a template. */
  readonly after: number;
  /** Whether generators in user space take new seeds. */
  readonly renew: boolean;
  readonly signal?: AbortSignal;
}

/**
 * Gives the machine its identity. An emulator translates code when it first runs, so the first IDENTIFY of a machine is read late and
 * the time in it is old; then a second one, read at once, sets the clock right before anybody has the machine.
 */
export async function makeUnique(
  guest: Guest,
  whose: Whose,
  { after, renew, signal }: Uniqueness,
): Promise<Confirmation & { readonly epoch: number }> {
  for (let attempt = 1; ; attempt++) {
    const epoch = after + attempt;
    const identity = {
      epoch,
      key: randomBytes(32),
      hostname: hostnameOf(whose),
      machineId: machineIdOf(whose),
      renew: renew && attempt === 1,
    };
    const sent = performance.now();
    const confirmation = await guest.identify(identity, signal === undefined ? {} : { signal });
    if (performance.now() - sent <= identifyFastMs || attempt === identifyMaxCount) return { ...confirmation, epoch };
  }
}

/** A host name that no other session has, and that says nothing of the host: the session's own id. */
function hostnameOf(whose: Whose): string {
  return whose.replace('_', '-');
}

/** The session's as long as it lives, wherever it wakes: 32 hexadecimal digits, as in machine-id(5). */
function machineIdOf(whose: Whose): string {
  return createHash('sha256').update('bulkhead-machine-id').update(whose).digest('hex').slice(0, 32);
}
