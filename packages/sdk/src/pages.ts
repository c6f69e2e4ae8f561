// A list that comes in pages: iterate it for every item, or take page by page.

import { BulkheadError } from '@bulkhead/protocol';

export interface Page<Item> {
  readonly items: readonly Item[];
  /** Null on the last page. */
  readonly nextCursor: string | null;
}

export class Pages<Item> implements AsyncIterable<Item> {
  readonly #fetch: (cursor: string | undefined) => Promise<Page<Item>>;

  constructor(fetch: (cursor: string | undefined) => Promise<Page<Item>>) {
    this.#fetch = fetch;
  }

  /** One page: the first, or the one after `nextCursor` of another. */
  async page(cursor?: string): Promise<Page<Item>> {
    return await this.#fetch(cursor);
  }

  async *pages(): AsyncGenerator<Page<Item>, void, void> {
    let cursor: string | undefined;
    for (;;) {
      const page = await this.#fetch(cursor);
      yield page;
      if (page.nextCursor === null) return;
      // A list that leads back to itself would never end.
      if (page.nextCursor === cursor) throw new BulkheadError('internal', 'A page of the list leads to itself.');
      cursor = page.nextCursor;
    }
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Item, void, void> {
    for await (const { items } of this.pages()) yield* items;
  }

  /** All of it, as far as `maxCount`. */
  async all(maxCount: number = Number.POSITIVE_INFINITY): Promise<readonly Item[]> {
    const items: Item[] = [];
    for await (const item of this) {
      if (items.length >= maxCount) break;
      items.push(item);
    }
    return items;
  }
}
