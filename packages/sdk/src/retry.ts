// When a request is sent again. The catalogue says for every error whether that can help; whether it can harm depends on the
// request: one that changes something, and has no idempotency key, is not repeated when nobody knows whether it was done.

import { BulkheadError, type ErrorCode, type RouteSpec, errorEntry } from '@bulkhead/protocol';

export interface RetryPolicy {
  /** In all, the first one too; 1: nothing is repeated. */
  readonly attemptsMaxCount: number;
  /** About so long before the second one, then twice as long each time. */
  readonly firstDelayMs: number;
  /** No wait is longer; a server that asks for more is not asked again. */
  readonly delayMaxMs: number;
}

const policyDefault: RetryPolicy = { attemptsMaxCount: 4, firstDelayMs: 250, delayMaxMs: 30_000 };
const policyMaximum: RetryPolicy = { attemptsMaxCount: 20, firstDelayMs: 60_000, delayMaxMs: 600_000 };
const policyMinimum: RetryPolicy = { attemptsMaxCount: 1, firstDelayMs: 0, delayMaxMs: 0 };

/** Errors: `invalid_request`. */
export function checkRetryPolicy(given: Partial<RetryPolicy> = {}): RetryPolicy {
  const policy = { ...policyDefault, ...given };
  for (const field of ['attemptsMaxCount', 'firstDelayMs', 'delayMaxMs'] as const) {
    const [minimum, maximum] = [policyMinimum[field], policyMaximum[field]];
    if (Number.isInteger(policy[field]) && policy[field] >= minimum && policy[field] <= maximum) continue;
    throw new BulkheadError(
      'invalid_request',
      `retry.${field} has to be a whole number from ${minimum} to ${maximum}.`,
    );
  }
  return policy;
}

export interface Failure {
  readonly error: BulkheadError;
  /** What the server asked for. */
  readonly retryAfterMs: number | undefined;
}

/** Refusals before anything is done, whatever was asked for. */
const refusals: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['rate_limited', 'server_stopping']);

/** Whether a request of this route does the same when it arrives twice. A creating one always has an idempotency key. */
export function isRepeatable({ method, creates }: RouteSpec): boolean {
  return creates === true || method === 'GET' || method === 'PUT' || method === 'DELETE';
}

/** How long to wait before the next attempt; undefined: there is none. `random` is from 0 to 1. */
export function retryDelayMs(
  policy: RetryPolicy,
  attempt: number,
  { error, retryAfterMs }: Failure,
  repeatable: boolean,
  random: number,
): number | undefined {
  if (attempt >= policy.attemptsMaxCount || errorEntry(error.code).retry === 'never') return undefined;
  if (!repeatable && !refusals.has(error.code)) return undefined;
  // Half of it at random: clients that failed together do not come back together.
  const backoffMs = Math.min(policy.delayMaxMs, policy.firstDelayMs * 2 ** (attempt - 1)) * (0.5 + random / 2);
  if (retryAfterMs === undefined) return backoffMs;
  return retryAfterMs > policy.delayMaxMs ? undefined : Math.max(retryAfterMs, backoffMs);
}

/** `Retry-After`, in seconds or as a date. */
export function parseRetryAfter(header: string | null, nowUnixMs: number): number | undefined {
  if (header === null) return undefined;
  const text = header.trim();
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1000;
  const at = Date.parse(text);
  return Number.isNaN(at) ? undefined : Math.max(0, at - nowUnixMs);
}
