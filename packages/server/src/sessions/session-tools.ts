import type { ToolDescription } from '../authority/tool-description.ts';
import type { CallAnswer, GuestCall } from '../guest/guest-calls.ts';
import type { Guest } from '../guest/guest.ts';
import type { SessionRecord } from './session-record.ts';

/** A call of a tool with the authority of a session, from inside of its machine or from outside. */
export type SessionCall = GuestCall;

/** Where a result that is no value is put, and files that are arguments are read. */
export type ResultGuest = Pick<Guest, 'mkdir' | 'writeFile' | 'readFile'>;

export interface AnswerOptions {
  /** A value that is larger as JSON becomes a file, too; none does unless said. */
  readonly valueMaxBytes?: number;
}

/** What serves a session beyond its machine. */
export interface Attachable {
  /**
   * From here on, until the guest's epoch ends. `session` gives the record as it is when a call comes: what it was granted and whose it is are
   * looked at then, not now. A second time in an epoch changes nothing. What code finds at its start is there when this resolves.
   */
  attach(session: () => SessionRecord, guest: Guest): void | Promise<void>;
}

/** What answers the calls that are made to the tools of sessions. */
export interface SessionTools extends Attachable {
  /** What the session was granted of what there is. A policy may still say no. Errors: `store_unavailable`. */
  catalogue(session: SessionRecord): Promise<readonly ToolDescription[]>;
  /** One call, decided and on record like any other of the session's. Never rejects. */
  call(
    session: () => SessionRecord,
    guest: ResultGuest,
    call: SessionCall,
    options?: AnswerOptions,
  ): Promise<CallAnswer>;
}

/** Serves a session with the tools and with others. */
export function attachAll(tools: SessionTools, ...others: readonly Attachable[]): SessionTools {
  return {
    async attach(session, guest) {
      await Promise.all([tools, ...others].map(async (each) => await each.attach(session, guest)));
    },
    catalogue: (session) => tools.catalogue(session),
    call: (...call) => tools.call(...call),
  };
}
