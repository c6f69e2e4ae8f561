// Server-sent events as a client reads them, cut wherever the test says.

import type { TurnEvent } from '@bulkhead/protocol';

export interface ReadEvent {
  readonly id: string | undefined;
  readonly type: string;
  // oxlint-disable-next-line typescript/no-explicit-any -- of turns and of commands
  readonly data: any;
}

/** Events of a response, until it ends or is cut. */
export async function* readEvents(response: Response): AsyncGenerator<ReadEvent, void, void> {
  if (response.body === null) return;
  const decoder = new TextDecoder();
  let waiting = '';
  for await (const chunk of response.body) {
    waiting += decoder.decode(chunk, { stream: true });
    for (let end = waiting.indexOf('\n\n'); end !== -1; end = waiting.indexOf('\n\n')) {
      const event = parseEvent(waiting.slice(0, end));
      waiting = waiting.slice(end + 2);
      if (event !== undefined) yield event;
    }
  }
}

function parseEvent(block: string): ReadEvent | undefined {
  const fields = new Map<string, string>();
  for (const line of block.split('\n')) {
    const colon = line.indexOf(': ');
    if (colon > 0) fields.set(line.slice(0, colon), line.slice(colon + 2));
  }
  const data = fields.get('data');
  return data === undefined
    ? undefined
    : { id: fields.get('id'), type: fields.get('event') ?? '', data: JSON.parse(data) as unknown };
}

export async function collectEvents(response: Response): Promise<TurnEvent[]> {
  const events: TurnEvent[] = [];
  for await (const { data } of readEvents(response)) events.push(data as TurnEvent);
  return events;
}

export function stdoutOf(events: readonly TurnEvent[]): string {
  return events.map((event) => (event.type === 'stdout' ? event.text : '')).join('');
}
