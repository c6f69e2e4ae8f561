// How much of a rule a session has used: connections now, bytes in all its life. What connections that have ended carried is on record; while any is open
// the sum is kept here, so that several at once cannot spend the same bytes twice.

import { BulkheadError, type EgressSettings } from '@bulkhead/protocol';
import type { SessionRecord } from './session-record.ts';

export interface Transferred {
  readonly sentBytes: number;
  readonly receivedBytes: number;
}

export interface ConnectionUse {
  /** Whether so many bytes more may go, and if so counts them. */
  readonly count: (direction: 'sent' | 'received', bytes: number) => boolean;
  readonly transferred: Transferred;
  /** `kept`: what it carried is on record. */
  end(kept: boolean): void;
}

interface RuleUse {
  readonly before: Promise<number>;
  bytes: number;
  connections: number;
  /** What all its connections carried is on record, those that are open aside. */
  isKept: boolean;
}

export class EgressUse {
  readonly #recorded: (session: SessionRecord, action: string) => Promise<number>;
  readonly #open = new Map<string, RuleUse>();

  constructor(recorded: (session: SessionRecord, action: string) => Promise<number>) {
    this.#recorded = recorded;
  }

  /** Errors: `too_many_connections`, `limit_exceeded` when nothing is left, those of the record. */
  async begin(
    session: SessionRecord,
    action: string,
    { bytesMax, connectionsMaxCount }: Pick<EgressSettings, 'bytesMax' | 'connectionsMaxCount'>,
  ): Promise<ConnectionUse> {
    const key = `${session.id} ${action}`;
    const rule = this.#open.get(key) ?? {
      before: this.#recorded(session, action),
      bytes: 0,
      connections: 0,
      isKept: true,
    };
    if (rule.connections >= connectionsMaxCount) {
      throw new BulkheadError('too_many_connections', 'The session has as many connections by this rule as it may.');
    }
    this.#open.set(key, rule);
    rule.connections += 1;
    const end = (kept: boolean): void => {
      rule.connections -= 1;
      rule.isKept &&= kept;
      if (rule.connections === 0 && rule.isKept) this.#open.delete(key);
    };
    let before: number;
    try {
      before = await rule.before;
      if (before + rule.bytes >= bytesMax) {
        throw new BulkheadError('limit_exceeded', 'The session has sent and received as much as this rule allows.', {
          details: { kind: 'bytes' },
        });
      }
    } catch (error) {
      end(true);
      throw error;
    }
    const carried = { sent: 0, received: 0 };
    return {
      count: (direction, bytes) => {
        if (before + rule.bytes + bytes > bytesMax) return false;
        rule.bytes += bytes;
        carried[direction] += bytes;
        return true;
      },
      get transferred() {
        return { sentBytes: carried.sent, receivedBytes: carried.received };
      },
      end,
    };
  }
}
