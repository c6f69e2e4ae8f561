// Server-sent events, as far as a stream of ours has them (WHATWG HTML, "Server-sent events"): fields, comments, and an event at
// each empty line. What a cut leaves of an event is dropped with the connection: it comes again, whole, on the next one.

import { BulkheadError } from '@bulkhead/protocol';
import { chunksOf } from './content.ts';

/** The data of one event; undefined for what only says that the server is there. */
export type SentEvent = string | undefined;

/** The largest event is a turn's largest result, twice escaped. */
const eventMaxLength = 134_217_728;

/** Errors: what the stream fails with; `limit_exceeded`. */
export async function* sentEvents(stream: ReadableStream<Uint8Array>): AsyncGenerator<SentEvent, void, void> {
  const decoder = new TextDecoder();
  const parser = new EventParser();
  for await (const chunk of chunksOf(stream)) {
    yield undefined;
    yield* parser.push(decoder.decode(chunk, { stream: true }));
  }
}

export class EventParser {
  /** The line that has not ended, in the pieces that it came in. */
  #line: string[] = [];
  #data: string[] = [];
  #length = 0;
  /** A CR was the last character: an LF that follows belongs to it. */
  #afterReturn = false;

  push(text: string): readonly string[] {
    const events: string[] = [];
    let start = 0;
    if (this.#afterReturn && text.length > 0) {
      this.#afterReturn = false;
      if (text.startsWith('\n')) start = 1;
    }
    const ends = /\r\n|\r|\n/g;
    ends.lastIndex = start;
    for (let end = ends.exec(text); end !== null; end = ends.exec(text)) {
      this.#line.push(text.slice(start, end.index));
      start = ends.lastIndex;
      this.#afterReturn = end[0] === '\r' && start === text.length;
      const event = this.#endLine();
      if (event !== undefined) events.push(event);
    }
    const rest = text.slice(start);
    if (rest !== '') this.#keep(rest);
    return events;
  }

  #keep(rest: string): void {
    this.#length += rest.length;
    if (this.#length > eventMaxLength) {
      throw new BulkheadError('limit_exceeded', `An event of the stream has more than ${eventMaxLength} characters.`);
    }
    this.#line.push(rest);
  }

  #endLine(): string | undefined {
    const line = this.#line.join('');
    this.#line = [];
    if (line === '') {
      const event = this.#data.length === 0 ? undefined : this.#data.join('\n');
      this.#data = [];
      this.#length = 0;
      return event;
    }
    const match = /^data(?:: ?(.*))?$/s.exec(line);
    if (match !== null) {
      const data = match[1] ?? '';
      this.#data.push(data);
      this.#length = this.#data.reduce((sum, { length }) => sum + length, 0);
    }
    return undefined;
  }
}
