// Pages of lists. A cursor says where the page before ended; to whoever holds it, it is a word without meaning, and no secret.

import { BulkheadError } from '@bulkhead/protocol';

export interface PageRequest {
  readonly limit?: number;
  readonly cursor?: string;
}

export interface Page<Item> {
  readonly items: readonly Item[];
  /** Null on the last page. */
  readonly nextCursor: string | null;
}

/** Where a page ended, in the order of its list: a moment, and the id that decides between two of the same. */
export interface Place {
  readonly unixMs: number;
  readonly id: string;
}

const idPattern = /^[a-z]{3}_[0-9a-z]{26}$/;

export function writeCursor({ unixMs, id }: Place): string {
  return Buffer.from(`${unixMs} ${id}`).toString('base64url');
}

/** Errors: `invalid_request`. */
export function readCursor(cursor: string): Place {
  const [moment = '', id = '', ...rest] = Buffer.from(cursor, 'base64url').toString('latin1').split(' ');
  const unixMs = Number(moment);
  if (/^\d{1,15}$/.test(moment) && idPattern.test(id) && rest.length === 0) return { unixMs, id };
  throw new BulkheadError('invalid_request', 'The cursor is none of this list.', {
    hint: 'Use `nextCursor` of the page before, or none for the first page.',
    details: { field: 'cursor' },
  });
}

/** A page from rows of which one more than the limit was asked for. */
export function toPage<Item>(rows: readonly Item[], limit: number, placeOf: (item: Item) => Place): Page<Item> {
  const items = rows.slice(0, limit);
  const last = items.at(-1);
  return { items, nextCursor: rows.length > limit && last !== undefined ? writeCursor(placeOf(last)) : null };
}
