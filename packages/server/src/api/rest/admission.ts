// Who asks, and whether they may: decided from the headers and the address, before anything looks at a body.

import { createHash } from 'node:crypto';
import { BulkheadError, type RouteSpec, limits } from '@bulkhead/protocol';
import type { FastifyRequest } from 'fastify';
import { type Caller, checkScope } from '../../tenants/caller.ts';
import type { Service } from '../service.ts';
import { checkValue, queryReader, readIdempotencyKey, readIfMatch, readLastEventId } from './read-request.ts';

export interface Admitted {
  /** Null where anybody may ask. */
  readonly caller: Caller | null;
  readonly params: unknown;
  readonly query: unknown;
  readonly expectedVersion: number | undefined;
  readonly lastEventId: number | undefined;
  readonly idempotencyKey: string | undefined;
}

/** Whoever asks, with the scope, within their rate. Errors: `unauthenticated`, `forbidden`, `rate_limited`, `store_unavailable`. */
export async function admitCaller(
  service: Service,
  request: FastifyRequest,
  scope: Exclude<RouteSpec['scope'], 'public'>,
): Promise<Caller> {
  const caller = await service.access.authenticate(request.headers.authorization);
  await service.access.spend(caller);
  if (scope !== 'caller') checkScope(caller, scope);
  return caller;
}

/** What decides about requests for a route. */
export function admission(service: Service, spec: RouteSpec): (request: FastifyRequest) => Promise<Admitted> {
  const readQuery = queryReader(spec.query);
  const { scope, params } = spec;
  return async (request) => {
    const caller = scope === 'public' ? null : await admitCaller(service, request, scope);
    const { headers } = request;
    return {
      caller,
      params: params === undefined ? undefined : checkValue(params, request.params, 'path'),
      query: readQuery(request.raw.url ?? ''),
      expectedVersion: readIfMatch(spec.versioned === true ? headers['if-match'] : undefined),
      lastEventId: readLastEventId(spec.events === undefined ? undefined : headerOf(headers['last-event-id'])),
      idempotencyKey: readIdempotencyKey(
        spec.creates === true ? headers['idempotency-key'] : undefined,
        limits.idempotencyKeyMaxLength,
      ),
    };
  };
}

/** What an idempotency key stands for: the same route, asked for the same. */
export function fingerprintOf(operation: string, { params, query }: Admitted, body: unknown): Uint8Array {
  return createHash('sha256')
    .update(JSON.stringify([operation, params ?? null, query ?? null, body ?? null]))
    .digest();
}

function headerOf(value: string | readonly string[] | undefined): string | undefined {
  if (value === undefined || typeof value === 'string') return value;
  throw new BulkheadError('invalid_request', 'A header is given twice that may be given once.');
}
