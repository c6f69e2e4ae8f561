// Sessions of a process that keeps nothing: what there is to read is what is in its memory. It answers as the store would.

import { BulkheadError, limits } from '@bulkhead/protocol';
import { type Page, type PageRequest, readCursor, toPage } from '../lib/page.ts';
import type { SessionRecord } from '../sessions/session-record.ts';
import type { Sessions } from '../sessions/sessions.ts';
import type { SessionFilter } from '../sessions/stored-sessions.ts';
import { CallerSessions, type CallerSessionsOptions } from './caller-sessions.ts';

/** The use cases for callers, over sessions that end with this process. */
export function unkeptSessions(sessions: Sessions): CallerSessions {
  const stored: CallerSessionsOptions['stored'] = {
    list: async (tenant, filter, page) => toList(sessions.listSessions(tenant), filter, page),
    get: async (tenant, id) => sessions.getSession(tenant, id),
    hostOf: async () => ({ here: true, url: null }),
  };
  return new CallerSessions({ sessions, stored, turns: noTurns });
}

function toList(
  records: readonly SessionRecord[],
  { states, subject, labels = {} }: SessionFilter = {},
  { limit = limits.pageDefaultCount, cursor }: PageRequest = {},
): Page<SessionRecord> {
  const after = cursor === undefined ? undefined : readCursor(cursor);
  const chosen = records
    .filter((record) => states === undefined || states.includes(record.state))
    .filter((record) => subject === undefined || record.subject === subject)
    .filter((record) => Object.entries(labels).every(([key, value]) => hasLabel(record, key, value)))
    .toSorted((one, other) => other.createdAtUnixMs - one.createdAtUnixMs || (other.id < one.id ? -1 : 1))
    .filter(
      ({ createdAtUnixMs: unixMs, id }) =>
        after === undefined || unixMs < after.unixMs || (unixMs === after.unixMs && id < after.id),
    );
  return toPage(chosen, limit, ({ createdAtUnixMs, id }) => ({ unixMs: createdAtUnixMs, id }));
}

function hasLabel({ labels }: SessionRecord, key: string, value: string | null): boolean {
  return Object.hasOwn(labels, key) && (value === null || labels[key] === value);
}

/** Turns are read from the session that had them, as long as it remembers. */
const noTurns: CallerSessionsOptions['turns'] = {
  list: async () => ({ items: [], nextCursor: null }),
  get: async () => {
    throw noTurn();
  },
  events: async () => {
    throw noTurn();
  },
};

function noTurn(): BulkheadError {
  return new BulkheadError('not_found', 'There is no such turn.');
}
