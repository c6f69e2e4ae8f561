// Which recorded decisions a command is about.

import type { SessionId } from '@bulkhead/protocol';
import type { CommandInput } from './command.ts';
import { parseCount, parseSessionId, parseSince } from './parse-values.ts';

export interface RecordedOptions {
  readonly session?: SessionId;
  readonly since?: string;
}

/** Errors: `invalid_request`. */
export function recordedOf(input: CommandInput): RecordedOptions {
  const [session, since] = [input.text('session'), input.text('since')];
  return {
    ...(session === undefined ? {} : { session: parseSessionId(session) }),
    ...(since === undefined ? {} : { since: parseSince(since, Date.now()) }),
  };
}

/** Errors: `invalid_request`. */
export function lastOf(input: CommandInput, usual: number): number {
  const text = input.text('last');
  return text === undefined ? usual : Math.max(1, parseCount('last', text));
}
