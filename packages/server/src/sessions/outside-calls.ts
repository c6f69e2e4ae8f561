// Calls of tools that are made with a session's authority from outside of its machine. They are as many at once as its own code may make.

import { BulkheadError, type SessionId } from '@bulkhead/protocol';
import type { CallAnswer } from '../guest/guest-calls.ts';
import { channelLimits } from '../guest/channel-limits.ts';
import type { Session } from './session.ts';
import type { SessionGuest } from './session-guest.ts';
import type { AnswerOptions, ResultGuest, SessionCall, SessionTools } from './session-tools.ts';

export type OutsideOptions = AnswerOptions & NonNullable<Parameters<Session['wake']>[0]>;

export class OutsideCalls {
  readonly #tools: SessionTools;
  readonly #underWay = new Map<SessionId, number>();

  constructor(tools: SessionTools) {
    this.#tools = tools;
  }

  /** One that sleeps is woken when a result has to be put into it, or a file read. Whatever the call ends with is the answer. Errors: `limit_exceeded`. */
  async call(session: Session, call: SessionCall, options: OutsideOptions): Promise<CallAnswer> {
    const { id } = session.record;
    const underWay = this.#underWay.get(id) ?? 0;
    if (underWay >= channelLimits.callsMaxCount) {
      throw new BulkheadError(
        'limit_exceeded',
        `${channelLimits.callsMaxCount} calls for this session are under way.`,
        {
          hint: 'Wait for some of them, or cancel them.',
          details: { maximum: channelLimits.callsMaxCount },
        },
      );
    }
    this.#underWay.set(id, underWay + 1);
    try {
      return await this.#tools.call(() => session.record, whenNeeded(session, options), call, options);
    } finally {
      const left = (this.#underWay.get(id) ?? 1) - 1;
      if (left === 0) this.#underWay.delete(id);
      else this.#underWay.set(id, left);
    }
  }
}

function whenNeeded(session: Session, options: OutsideOptions): ResultGuest {
  const awake = async (): Promise<SessionGuest> => {
    await session.wake(options);
    return session.guest;
  };
  return {
    mkdir: async (...all) => await (await awake()).mkdir(...all),
    writeFile: async (...all) => await (await awake()).writeFile(...all),
    async *readFile(...all) {
      yield* (await awake()).readFile(...all);
    },
  };
}
