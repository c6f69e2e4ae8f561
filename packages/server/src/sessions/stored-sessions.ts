// Sessions of a tenant as the store has them, whichever host they are on. What a host knows of its own is never older.

import { BulkheadError, type SessionId, type SessionState, type TenantId, limits, sizes } from '@bulkhead/protocol';
import { type Page, type PageRequest, readCursor, toPage } from '../lib/page.ts';
import type { SessionRow } from '../store/session-store.ts';
import type { Store } from '../store/store.ts';
import { type SessionRecord, toRecord } from './session-record.ts';

export interface SessionFilter {
  readonly states?: readonly SessionState[];
  readonly subject?: string;
  /** All of them; a value of null is any. */
  readonly labels?: Readonly<Record<string, string | null>>;
}

export interface SessionHost {
  /** It is this server. */
  readonly here: boolean;
  /** Where the server says that it can be reached; null when it says nothing. */
  readonly url: string | null;
}

export class StoredSessions {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  /** Newest first, in an order that does not change. Errors: `invalid_request` for a cursor that is none. */
  async list(tenant: TenantId, filter: SessionFilter = {}, page: PageRequest = {}): Promise<Page<SessionRecord>> {
    const { limit = limits.pageDefaultCount, cursor } = page;
    const after = cursor === undefined ? {} : { after: readCursor(cursor) };
    const rows = await this.#store.sessions.page(tenant, { ...filter, ...after, limit: limit + 1 });
    const records = rows.map(({ record }) => toRecord(record));
    return toPage(records, limit, ({ createdAtUnixMs, id }) => ({ unixMs: createdAtUnixMs, id }));
  }

  /** Errors: `not_found`. */
  async get(tenant: TenantId, id: SessionId): Promise<SessionRecord> {
    const row = await this.#store.sessions.get(tenant, id);
    if (row === undefined) throw noSession(id);
    return toRecord(row.record);
  }

  /** The server that has the session. Errors: `not_found`, `host_unavailable` when it does not run. */
  async hostOf(tenant: TenantId, id: SessionId): Promise<SessionHost> {
    const host = await this.#store.hosts.of(tenant, id);
    if (host === undefined) throw noSession(id);
    const { here, alive, url } = host;
    if (here || alive) return { here, url };
    throw new BulkheadError('host_unavailable', 'The server that has this session does not run.', {
      hint: 'Start it again; what was acknowledged is kept, and a session that slept sleeps on.',
    });
  }
}

/** What the store searches and counts a session by. */
export function toSessionRow(record: SessionRecord): SessionRow {
  const { id, tenant, subject, labels, state, generation, tier, createdAtUnixMs, size } = record;
  const { memoryMib, scratchMib } = sizes[size];
  return {
    id,
    tenant,
    subject,
    labels,
    state,
    generation,
    tier,
    createdAtUnixMs,
    memoryMib,
    scratchMib,
    record,
  };
}

function noSession(id: SessionId): BulkheadError {
  return new BulkheadError('not_found', `There is no session ${id}.`);
}
