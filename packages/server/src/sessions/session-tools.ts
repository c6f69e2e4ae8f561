import type { Guest } from '../guest/guest.ts';
import type { SessionRecord } from './session-record.ts';

/** What answers the calls that the code of sessions makes to its tools. */
export interface SessionTools {
  /**
   * From here on, until the guest's epoch ends. `session` gives the record as it is when a call comes: what it was granted and whose it is are
   * looked at then, not now. A second time in an epoch changes nothing.
   */
  attach(session: () => SessionRecord, guest: Guest): void;
}
