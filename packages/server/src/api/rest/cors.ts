// Which pages of other origins may ask from a browser. None unless configured; credentials of the browser's never: a key is sent on purpose.

import type { FastifyInstance } from 'fastify';
import { httpMethods } from '@bulkhead/protocol';

export interface CorsOptions {
  /** As browsers write them: scheme, host, port. */
  readonly origins: readonly string[];
}

const askedHeaders =
  'authorization, content-type, accept, idempotency-key, if-match, last-event-id, x-request-id, mcp-session-id, mcp-protocol-version';
const shownHeaders = 'etag, retry-after, x-request-id, mcp-session-id';
const preflightSeconds = 600;

export function allowOrigins(app: FastifyInstance, { origins }: CorsOptions): void {
  const allowed = new Set(origins);
  app.addHook('onRequest', async (request, reply) => {
    void reply.header('vary', 'origin');
    const { origin } = request.headers;
    if (origin === undefined || !allowed.has(origin)) return;
    void reply.headers({
      'access-control-allow-origin': origin,
      'access-control-expose-headers': shownHeaders,
      'cross-origin-resource-policy': 'cross-origin',
    });
    if (request.method !== 'OPTIONS' || request.headers['access-control-request-method'] === undefined) return;
    await reply
      .headers({
        'access-control-allow-methods': httpMethods.join(', '),
        'access-control-allow-headers': askedHeaders,
        'access-control-max-age': String(preflightSeconds),
      })
      .code(204)
      .send();
  });
}
