import type { Guest } from '../guest/guest.ts';
import type { SessionRecord } from './session-record.ts';

/** What answers the calls that the code of sessions makes to its tools. */
export interface SessionTools {
  /**
   * From here on, until the guest's epoch ends. `session` gives the record as it is when a call comes: what it was granted and whose it is are
   * looked at then, not now. A second time in an epoch changes nothing. What code finds at its start is there when this resolves.
   */
  attach(session: () => SessionRecord, guest: Guest): void | Promise<void>;
}

/** Several, as one. */
export function attachAll(...each: readonly SessionTools[]): SessionTools {
  return {
    async attach(session, guest) {
      await Promise.all(each.map(async (tools) => await tools.attach(session, guest)));
    },
  };
}
