import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BulkheadError, type ErrorCode, errorCatalogue, errorEntry, routes } from '@bulkhead/protocol';
import * as fc from 'fast-check';
import { checkRetryPolicy, isRepeatable, parseRetryAfter, retryDelayMs } from '../src/retry.ts';

const policy = checkRetryPolicy({ attemptsMaxCount: 5, firstDelayMs: 100, delayMaxMs: 10_000 });
const codes = Object.keys(errorCatalogue) as ErrorCode[];

function failure(code: ErrorCode, retryAfterMs?: number): { error: BulkheadError; retryAfterMs: number | undefined } {
  return { error: new BulkheadError(code, 'No.'), retryAfterMs };
}

describe('whether a request is sent again', () => {
  for (const code of codes) {
    it(`follows the catalogue for ${code}`, () => {
      const delay = retryDelayMs(policy, 1, failure(code), true, 0.5);
      assert.equal(delay === undefined, errorEntry(code).retry === 'never');
    });
  }

  it('is no for what changes something without a key, but for refusals before anything is done', () => {
    const repeated = codes.filter((code) => retryDelayMs(policy, 1, failure(code), false, 0.5) !== undefined);
    assert.deepEqual(repeated.toSorted(), ['rate_limited', 'server_stopping']);
  });

  it('depends on the method, and on whether it creates', () => {
    assert.equal(isRepeatable(routes.createSession), true);
    assert.equal(isRepeatable(routes.getSession), true);
    assert.equal(isRepeatable(routes.writeFile), true);
    assert.equal(isRepeatable(routes.terminateSession), true);
    assert.equal(isRepeatable(routes.updateSession), false);
    assert.equal(isRepeatable(routes.restoreCheckpoint), false);
    assert.equal(isRepeatable(routes.moveFile), false);
  });
});

describe('how long it waits', () => {
  it('grows, with a random part, up to a bound; and never less than the server asks for', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 4 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.option(fc.integer({ min: 0, max: 10_000 }), { nil: undefined }),
        (attempt, random, retryAfterMs) => {
          const delay = retryDelayMs(policy, attempt, failure('rate_limited', retryAfterMs), true, random);
          assert.ok(delay !== undefined);
          const backoff = 100 * 2 ** (attempt - 1);
          assert.ok(delay >= Math.max(retryAfterMs ?? 0, backoff / 2));
          assert.ok(delay <= Math.max(retryAfterMs ?? 0, backoff));
        },
      ),
    );
  });

  it('has an end: the attempts, and a server that asks for too much', () => {
    assert.equal(retryDelayMs(policy, 5, failure('rate_limited'), true, 0), undefined);
    assert.equal(retryDelayMs(policy, 1, failure('rate_limited', 10_001), true, 0), undefined);
  });

  it('is read from seconds and from a date', () => {
    const now = Date.parse('2026-01-01T00:00:00Z');
    assert.equal(parseRetryAfter('7', now), 7000);
    assert.equal(parseRetryAfter('Thu, 01 Jan 2026 00:00:09 GMT', now), 9000);
    assert.equal(parseRetryAfter('Thu, 01 Jan 2020 00:00:09 GMT', now), 0);
    assert.equal(parseRetryAfter('soon', now), undefined);
    assert.equal(parseRetryAfter(null, now), undefined);
  });

  it('cannot be set to nonsense', () => {
    for (const bad of [{ attemptsMaxCount: 0 }, { attemptsMaxCount: 1.5 }, { delayMaxMs: -1 }, { firstDelayMs: 1e9 }]) {
      assert.throws(() => checkRetryPolicy(bad), { code: 'invalid_request' });
    }
  });
});
