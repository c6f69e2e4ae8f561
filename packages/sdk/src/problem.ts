// What a request that failed is to its caller: one error of the catalogue, whatever stood between it and the server.

import { BulkheadError, type ErrorCode, errorCatalogue, problemSchema } from '@bulkhead/protocol';
import { cancelled } from './abort.ts';
import { type Failure, parseRetryAfter } from './retry.ts';

/** An answer that is no success. Never rejects. */
export async function answerFailure(response: Response, operation: string): Promise<Failure> {
  const retryAfterMs = parseRetryAfter(response.headers.get('retry-after'), Date.now());
  // Whoever hangs up in the middle of a refusal has refused.
  const text = await response.text().catch(() => '');
  return { error: problemError(response, text, operation), retryAfterMs };
}

function problemError(response: Response, text: string, operation: string): BulkheadError {
  const body = parseJson(text);
  const parsed = problemSchema.safeParse(body);
  if (parsed.success) {
    const { code, detail, hint, details, requestId } = parsed.data;
    return new BulkheadError(code, detail, {
      requestId,
      ...(hint === undefined ? {} : { hint }),
      ...(details === undefined ? {} : { details }),
    });
  }
  const { status } = response;
  const requestId = response.headers.get('x-request-id') ?? memberOf(body, 'requestId');
  const code = memberOf(body, 'code');
  const known = code !== undefined && /^[a-z_]{1,64}$/.test(code);
  return new BulkheadError(
    codeOfStatus(status),
    memberOf(body, 'detail') ?? `The answer to ${operation} was ${status}, without a reason.`,
    {
      hint: known
        ? `The server calls this ${code}; a newer SDK knows what that is.`
        : 'It may come from something between here and the server: check the URL, and what it leads to.',
      details: { status, ...(known ? { code } : {}) },
      ...(requestId === undefined ? {} : { requestId }),
    },
  );
}

/** For answers of who does not speak our language, a proxy say. */
function codeOfStatus(status: number): ErrorCode {
  if (status === 502 || status === 503 || status === 504) return 'server_unreachable';
  const code = (['unauthenticated', 'forbidden', 'not_found', 'rate_limited', 'limit_exceeded'] as const).find(
    (candidate) => errorCatalogue[candidate].status === status,
  );
  if (code !== undefined) return code;
  return status >= 400 && status < 500 ? 'invalid_request' : 'internal';
}

/** A request that got no answer, or not all of one. */
export function networkFailure(cause: unknown, signal: AbortSignal | undefined): Failure {
  if (signal?.aborted === true) return { error: cancelled(signal), retryAfterMs: undefined };
  if (BulkheadError.is(cause)) return { error: cause, retryAfterMs: undefined };
  const error = new BulkheadError('server_unreachable', `The server does not answer${reasonOf(cause)}.`, {
    hint: 'Is it running, is the URL right, and does a proxy or a firewall let requests through?',
    cause,
  });
  return { error, retryAfterMs: undefined };
}

/** `fetch` says "fetch failed", and why only below. */
function reasonOf(cause: unknown): string {
  let deepest: unknown = cause;
  for (let depth = 0; depth < 5 && deepest instanceof Error && deepest.cause !== undefined; depth += 1) {
    deepest = deepest.cause;
  }
  const code = deepest instanceof Error && 'code' in deepest ? deepest.code : undefined;
  return typeof code === 'string' && /^[A-Z_0-9]{1,64}$/.test(code) ? ` (${code})` : '';
}

/** An answer that is not what the protocol has. */
export function misunderstood(operation: string, response: Response, cause?: unknown): BulkheadError {
  const requestId = response.headers.get('x-request-id');
  return new BulkheadError('internal', `The answer to ${operation} is not one of Bulkhead's.`, {
    hint: 'Does the URL lead to a Bulkhead server, and is it of the same version as this client?',
    details: { status: response.status, type: response.headers.get('content-type') ?? '' },
    ...(requestId === null ? {} : { requestId }),
    ...(cause === undefined ? {} : { cause }),
  });
}

export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function memberOf(body: unknown, name: string): string | undefined {
  if (typeof body !== 'object' || body === null || !Object.hasOwn(body, name)) return undefined;
  const value: unknown = Reflect.get(body, name);
  return typeof value === 'string' && value.length <= 1000 ? value : undefined;
}
