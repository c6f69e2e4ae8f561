// What the MCP client sends its requests with: each to one origin, at an address that was checked, with the credential, within bounds. What comes back has a
// status, three headers, and a body that ends.

import { BulkheadError } from '@bulkhead/protocol';
import type { FetchLike } from '@modelcontextprotocol/sdk/shared/transport.js';
import type { IncomingMessage } from 'node:http';
import { type Reach, sendPinned } from '../../lib/pinned-request.ts';
import type { OpenCredential } from '../credential.ts';
import { mcpBounds } from './mcp-bounds.ts';

export interface PinnedFetchOptions {
  readonly url: URL;
  readonly reach: Reach;
  readonly credential: OpenCredential;
  readonly timeoutMs: number;
  readonly answerMaxBytes: number;
}

const passedHeaders = ['content-type', 'mcp-session-id', 'location'] as const;

export function makePinnedFetch({ url, reach, credential, timeoutMs, answerMaxBytes }: PinnedFetchOptions): FetchLike {
  let sent = 0;
  let streams = 0;
  let underWay = 0;
  return async (to, init = {}) => {
    const target = new URL(to);
    const method = init.method ?? 'GET';
    const isStream = method === 'GET';
    sent += 1;
    streams += isStream ? 1 : 0;
    if (target.origin !== url.origin) throw new Error('The request is for another origin.');
    const isOver = sent > mcpBounds.requestsMaxCount || (isStream && streams > mcpBounds.notificationStreamsMaxCount);
    if (isOver || underWay >= mcpBounds.requestsAtOnceMaxCount) throw new Error('The server makes us send too much.');
    if (init.body !== undefined && init.body !== null && typeof init.body !== 'string') {
      throw new TypeError('A message is text.');
    }
    const signals = [...(init.signal ? [init.signal] : []), ...(isStream ? [] : [AbortSignal.timeout(timeoutMs)])];
    underWay += 1;
    const path = `${target.pathname}${target.search}`;
    try {
      const { status, headers, body } = await sendPinned(
        {
          origin: target,
          method,
          path: credential.query === undefined ? path : `${path}${target.search === '' ? '?' : '&'}${credential.query}`,
          headers: {
            ...Object.fromEntries(new Headers(init.headers)),
            ...credential.headers,
            'accept-encoding': 'identity',
          },
          body: init.body ?? undefined,
          signal: AbortSignal.any(signals),
        },
        reach,
      );
      const passed = new Headers();
      for (const name of passedHeaders) {
        const value = headers[name];
        if (typeof value === 'string') passed.set(name, value);
      }
      if (status < 200 || status > 599 || headers['content-encoding'] !== undefined) {
        body.destroy();
        throw new Error('The answer is none that was asked for.');
      }
      if ([204, 205, 304].includes(status)) {
        body.resume();
        return new Response(null, { status, headers: passed });
      }
      const maxBytes = isStream ? mcpBounds.notificationsMaxBytes : answerMaxBytes;
      return new Response(ReadableStream.from(bounded(body, maxBytes)), { status, headers: passed });
    } finally {
      underWay -= 1;
    }
  };
}

async function* bounded(body: IncomingMessage, maxBytes: number): AsyncGenerator<Uint8Array, void, void> {
  let length = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > maxBytes) throw new BulkheadError('limit_exceeded', `The answer has more than ${maxBytes} bytes.`);
    yield chunk;
  }
}
