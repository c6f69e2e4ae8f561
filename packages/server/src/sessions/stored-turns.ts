// Turns as the store keeps them: what they were given and what they told is sealed with the key of their tenant and day, so that it ends with its
// retention wherever copies of it lie. Readable from every host that has that key.

import {
  BulkheadError,
  type SessionId,
  type TenantId,
  type TurnEvent,
  type TurnId,
  type TurnOutcome,
  type TurnResult,
  foldTurn,
  limits,
} from '@bulkhead/protocol';
import { type Page, type PageRequest, readCursor, toPage } from '../lib/page.ts';
import type { DayKeys } from '../sealing/day-keys.ts';
import type { EventsRow, TurnRow, TurnStore } from '../store/turn-store.ts';
import type { Step } from '../store/step.ts';
import type { TurnEnd, TurnIntent } from './session-journal.ts';
import { toSessionRow } from './stored-sessions.ts';

export interface StoredTurn {
  readonly id: TurnId;
  readonly session: SessionId;
  readonly state: 'running' | 'ended';
  readonly startedAtUnixMs: number;
  readonly endedAtUnixMs: number | null;
}

export interface TurnEventPage {
  readonly items: readonly TurnEvent[];
  /** The turn has ended and `items` has its last event. */
  readonly ended: boolean;
}

/** Events that are sealed together: a reader that begins in their midst opens all of them. */
const sealedMaxLength = 65_536;
const rowsAtOnce = 32;

export class StoredTurns {
  readonly #store: TurnStore;
  readonly #keys: DayKeys;
  /** The keys of the turns that run here. */
  readonly #running = new Map<TurnId, string>();

  constructor(store: TurnStore, keys: DayKeys) {
    this.#store = store;
    this.#keys = keys;
  }

  /** With the generation of its session that runs it, both or neither. Errors: `state_conflict`, `store_unavailable`, `key_unavailable`. */
  async start({ id, session, request }: TurnIntent): Promise<void> {
    const { tenant } = session;
    const sealedWith = this.#running.get(id) ?? this.#keys.today();
    const document = JSON.stringify({ ...request, code: new TextDecoder().decode(request.code) });
    const sealed = await this.#keys.seal({ tenant, sealedWith, what: `turn ${id} request` }, document);
    // Before it is certain: a start whose answer is lost has been kept, too.
    this.#running.set(id, sealedWith);
    await this.#store.start(toSessionRow(session), { id, sealedWith, request: sealed });
  }

  /**
   * With the generation of its session that comes of it, if one does: all of it or nothing; a second time changes nothing.
   * Errors: `state_conflict`, `store_unavailable`, `key_unavailable`; `not_found` for one whose start was never kept.
   */
  async end({ id, tenant, after }: TurnEnd, events: readonly TurnEvent[], outcome: TurnOutcome): Promise<void> {
    const sealedWith = this.#running.get(id);
    if (sealedWith === undefined) throw new BulkheadError('not_found', `The start of the turn ${id} was not kept.`);
    await this.#end({ id, sealedWith, step: after === null ? { tenant } : toSessionRow(after) }, events, outcome);
  }

  async #end(
    { id, sealedWith, step }: { readonly id: TurnId; readonly sealedWith: string; readonly step: Step },
    events: readonly TurnEvent[],
    outcome: TurnOutcome,
  ): Promise<void> {
    const { tenant } = step;
    const seal = (what: string, text: string): Promise<Buffer> =>
      this.#keys.seal({ tenant, sealedWith, what: `turn ${id} ${what}` }, text);
    const rows: EventsRow[] = [];
    for (const { sequence, text } of toTexts(events)) {
      rows.push({ sequence, events: await seal(`events ${sequence}`, text) });
    }
    await this.#store.end(step, { id, outcome: await seal('outcome', JSON.stringify(outcome)) }, rows);
  }

  /** Nothing more will be told of a turn that ran here. */
  release(id: TurnId): void {
    this.#running.delete(id);
  }

  /** Ends the turns of this host that have none, of a process that is gone, each with its only event. */
  async endOpen(outcome: TurnOutcome): Promise<void> {
    for (const row of await this.#store.open()) {
      const { id, tenant, sealedWith } = ofRow(row);
      const end = { type: 'end', outcome, seq: 1 } as const;
      // What it was given may be in the clear, of before there were keys: its end is, too.
      if (sealedWith !== null) await this.#end({ id, sealedWith, step: { tenant } }, [end], outcome);
      else {
        const events = Buffer.from(JSON.stringify(end));
        const ended = { id, outcome: Buffer.from(JSON.stringify(outcome)) };
        await this.#store.end({ tenant }, ended, [{ sequence: 0, events }]);
      }
    }
  }

  /** Of a session, oldest first. Errors: `invalid_request` for a cursor that is none. */
  async list(tenant: TenantId, session: SessionId, page: PageRequest = {}): Promise<Page<StoredTurn>> {
    const { limit = limits.pageDefaultCount, cursor } = page;
    const after = cursor === undefined ? {} : { after: readCursor(cursor) };
    const rows = await this.#store.page(tenant, session, { ...after, limit: limit + 1 });
    return toPage(rows.map(toTurn), limit, ({ startedAtUnixMs, id }) => ({ unixMs: startedAtUnixMs, id }));
  }

  /** With its result when it has ended. Errors: `not_found`, `key_unavailable`. */
  async get(
    tenant: TenantId,
    session: SessionId,
    id: TurnId,
  ): Promise<StoredTurn & { readonly result: TurnResult | null }> {
    const row = await this.#row(tenant, session, id);
    const turn = toTurn(row);
    if (row.outcome === null) return { ...turn, result: null };
    const outcome = JSON.parse(await this.#open(row, 'outcome', row.outcome));
    const events = await this.#events(row, 0, Number.POSITIVE_INFINITY);
    return { ...turn, result: foldTurn(session, id, events, outcome) };
  }

  /** What the turn was given. Errors: `not_found`, `key_unavailable`. */
  async request(tenant: TenantId, session: SessionId, id: TurnId): Promise<unknown> {
    const row = await this.#row(tenant, session, id);
    return JSON.parse(await this.#open(row, 'request', row.request));
  }

  /** Those after `after`; none while the turn runs: its host has them. Errors: `not_found`, `key_unavailable`. */
  async events(
    tenant: TenantId,
    session: SessionId,
    id: TurnId,
    options: { readonly after?: number; readonly limit?: number } = {},
  ): Promise<TurnEventPage> {
    const { after = 0, limit = limits.eventPageMaxCount } = options;
    const row = await this.#row(tenant, session, id);
    if (row.outcome === null) return { items: [], ended: false };
    const items = await this.#events(row, after, limit);
    return { items, ended: items.length < limit || items.at(-1)?.type === 'end' };
  }

  async #row(tenant: TenantId, session: SessionId, id: TurnId): Promise<TurnRow> {
    const row = await this.#store.get(tenant, session, id);
    if (row === undefined) throw new BulkheadError('not_found', `There is no turn ${id} in this session.`);
    return row;
  }

  async #events(turn: TurnRow, after: number, limit: number): Promise<readonly TurnEvent[]> {
    const found: TurnEvent[] = [];
    for (let from = after; found.length < limit;) {
      const rows = await this.#store.events(turn.tenant, turn.id, from, rowsAtOnce);
      for (const { sequence, events } of rows) {
        const parsed: unknown = JSON.parse(await this.#open(turn, `events ${sequence}`, events));
        // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the store keeps exactly what it was given
        const told = (Array.isArray(parsed) ? parsed : [parsed]) as TurnEvent[];
        for (const event of told.slice(Math.max(0, from - sequence))) found.push(event);
        from = Math.max(from, sequence + told.length);
      }
      if (rows.length < rowsAtOnce) break;
    }
    return found.length > limit ? found.slice(0, limit) : found;
  }

  async #open({ id, tenant, sealedWith }: TurnRow, what: string, bytes: Buffer): Promise<string> {
    if (sealedWith === null) return bytes.toString('utf8');
    return await this.#keys.open({ tenant, sealedWith, what: `turn ${id} ${what}` }, bytes);
  }
}

/** Arrays in JSON, each at most a little longer than is sealed together. */
function* toTexts(events: readonly TurnEvent[]): Generator<{ readonly sequence: number; readonly text: string }> {
  let waiting: string[] = [];
  let length = 0;
  for (const [index, event] of events.entries()) {
    const text = JSON.stringify(event);
    waiting.push(text);
    length += text.length;
    if (length < sealedMaxLength && index < events.length - 1) continue;
    yield { sequence: index - waiting.length + 1, text: `[${waiting.join(',')}]` };
    waiting = [];
    length = 0;
  }
}

/** The ids of a row are what they were when it was written. */
function ofRow<Row extends Pick<TurnRow, 'id' | 'tenant' | 'session'>>(
  row: Row,
): Omit<Row, 'id' | 'tenant' | 'session'> & {
  readonly id: TurnId;
  readonly tenant: TenantId;
  readonly session: SessionId;
} {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- rows are written by this class alone, from ids
  return row as never;
}

function toTurn(row: Pick<TurnRow, 'id' | 'tenant' | 'session' | 'startedAtUnixMs' | 'endedAtUnixMs'>): StoredTurn {
  const { id, session, startedAtUnixMs, endedAtUnixMs } = ofRow(row);
  return { id, session, state: endedAtUnixMs === null ? 'running' : 'ended', startedAtUnixMs, endedAtUnixMs };
}
