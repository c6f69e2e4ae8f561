// Every error as `application/problem+json` (RFC 9457), those of the HTTP library too. What is not ours says no more than that something failed.

import { BulkheadError, type ErrorCode, type Problem, errorEntry } from '@bulkhead/protocol';

export const problemType = 'application/problem+json; charset=utf-8';

/** Whoever may try again is told when, even where nobody knows better. */
const retryAfterDefaultMs = 1000;

export function toProblem(error: BulkheadError, requestId: string): Problem {
  const { code, message, hint, details } = error;
  const { status, title } = errorEntry(code);
  return {
    type: `urn:bulkhead:error:${code}`,
    title,
    // A turn that failed is a result; where nothing else can be said it is the caller's conflict.
    status: status < 400 ? 409 : status,
    detail: message,
    code,
    ...(hint === undefined ? {} : { hint }),
    ...(details === undefined ? {} : { details: { ...details } }),
    requestId,
  };
}

/** Headers that belong to an error: when to come back, how to say who one is. */
export function problemHeaders({ code, details }: BulkheadError): Readonly<Record<string, string>> {
  const headers: Record<string, string> = {};
  if (errorEntry(code).retry === 'after') {
    const asked = details?.['retryAfterMs'];
    const retryAfterMs = typeof asked === 'number' && asked > 0 ? asked : retryAfterDefaultMs;
    headers['retry-after'] = String(Math.ceil(retryAfterMs / 1000));
  }
  if (code === 'unauthenticated') headers['www-authenticate'] = 'Bearer realm="bulkhead"';
  return headers;
}

interface LibraryError {
  readonly code?: unknown;
  readonly statusCode?: unknown;
}

/** What the HTTP library refuses, in our words. */
const libraryErrors: Readonly<Record<string, readonly [code: ErrorCode, message: string]>> = {
  FST_ERR_CTP_INVALID_MEDIA_TYPE: ['unsupported_media_type', 'The content has a type that is not taken here.'],
  FST_ERR_CTP_BODY_TOO_LARGE: ['limit_exceeded', 'The body is larger than a request may have.'],
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: ['invalid_request', 'The body is shorter or longer than its stated length.'],
  FST_ERR_BAD_URL: ['invalid_request', 'The path is not a valid one.'],
  FST_ERR_MAX_PARAM_LENGTH: ['invalid_request', 'A part of the path is too long.'],
  FST_ERR_ROUTE_MISSING_CONTENT_TYPE: ['unsupported_media_type', 'The content has no type.'],
};

export function toBulkheadError(thrown: unknown): BulkheadError {
  if (BulkheadError.is(thrown)) return thrown;
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- both members are looked at as what they may be: anything
  const { code, statusCode } = (typeof thrown === 'object' && thrown !== null ? thrown : {}) as LibraryError;
  const known = typeof code === 'string' && Object.hasOwn(libraryErrors, code) ? libraryErrors[code] : undefined;
  if (known !== undefined) return new BulkheadError(known[0], known[1], { cause: thrown });
  if (typeof statusCode === 'number' && statusCode >= 400 && statusCode < 500) {
    return new BulkheadError('invalid_request', 'The request is not valid.', { cause: thrown });
  }
  return new BulkheadError('internal', 'Bulkhead failed; what happened is in the log of the server.', {
    hint: 'Tell the operator the id of the request.',
    cause: thrown,
  });
}
