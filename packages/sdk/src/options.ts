// What a client is made with, checked once.

import { BulkheadError } from '@bulkhead/protocol';
import { sleep } from './abort.ts';
import { type RetryPolicy, checkRetryPolicy } from './retry.ts';

export interface BulkheadOptions {
  /** Where the server is, like `https://bulkhead.example.com`. */
  readonly url: string | URL;
  /** An API key. This, or `token`. */
  readonly apiKey?: string | undefined;
  /** Gives the token of an identity provider. Asked before every request: keep what it gives for as long as it is good. */
  readonly token?: TokenProvider;
  /** In place of the global one: for a proxy, or certificates of your own. */
  readonly fetch?: typeof globalThis.fetch;
  /** How requests are repeated; see `RetryPolicy`. */
  readonly retry?: Partial<RetryPolicy>;
  /** How long an answer may take to begin: longer than the slowest thing that is waited for, a launch say. 5 minutes unless said. */
  readonly answerTimeoutMs?: number;
  /** In place of a timer, between attempts and between connections: for tests. Rejects with `cancelled` when the signal is aborted. */
  readonly wait?: Wait;
}

export type Wait = (delayMs: number, signal: AbortSignal | undefined) => Promise<void>;

/** `refused`: the server did not take the one before, so that one that is kept is of no use. */
export type TokenProvider = (request: {
  readonly refused: boolean;
  readonly signal?: AbortSignal;
}) => string | Promise<string>;

/** Every method takes these last. */
export interface CallOptions {
  readonly signal?: AbortSignal;
}

/** What creates something may be given a key of the caller's own: whoever repeats it with the same key, later or elsewhere, gets the same answer. */
export interface CreateOptions extends CallOptions {
  readonly idempotencyKey?: string;
}

export interface ListOptions extends CallOptions {
  /** Of a page. */
  readonly limit?: number;
}

/** With `ifVersion`, only that version of it is changed. Errors: `precondition_failed`. */
export interface VersionedOptions extends CallOptions {
  readonly ifVersion?: number;
}

export interface CheckedOptions {
  readonly base: URL;
  readonly credential: Credential;
  readonly fetch: typeof globalThis.fetch;
  readonly retry: RetryPolicy;
  readonly answerTimeoutMs: number;
  readonly wait: Wait;
}

export interface Credential {
  /** Whether a refusal may be answered with another one. */
  readonly renewable: boolean;
  bearer(refused: boolean, signal: AbortSignal | undefined): Promise<string | undefined>;
}

const answerTimeoutDefaultMs = 300_000;
const timerMaxMs = 2_147_483_647;

/** Errors: `invalid_request`. */
export function checkOptions(options: BulkheadOptions): CheckedOptions {
  const { apiKey, token, answerTimeoutMs = answerTimeoutDefaultMs } = options;
  if (apiKey !== undefined && token !== undefined) {
    throw new BulkheadError('invalid_request', 'A client has an API key or a token, not both.');
  }
  if (!(answerTimeoutMs >= 1 && answerTimeoutMs <= timerMaxMs)) {
    throw new BulkheadError('invalid_request', `answerTimeoutMs has to be between 1 and ${timerMaxMs}.`);
  }
  const key = apiKey === undefined ? undefined : checkBearer(apiKey, 'The API key');
  return {
    base: checkUrl(options.url),
    credential: {
      renewable: token !== undefined,
      bearer: async (refused, signal) => {
        if (token === undefined) return key;
        return checkBearer(await token({ refused, ...(signal === undefined ? {} : { signal }) }), 'The token');
      },
    },
    // Taken when it is used: a global that is replaced later, by tracing say, is the one that is meant.
    fetch: options.fetch ?? ((input, init): Promise<Response> => globalThis.fetch(input, init)),
    retry: checkRetryPolicy(options.retry),
    answerTimeoutMs,
    wait: options.wait ?? sleep,
  };
}

/** What is sent in a header; `fetch` would quote a bad one in its error. Errors: `invalid_request`, without the value. */
function checkBearer(text: unknown, what: string): string {
  if (typeof text === 'string' && /^[\x21-\x7e]{1,16384}$/.test(text)) return text;
  throw new BulkheadError('invalid_request', `${what} is not one: it is empty, or has spaces or control characters.`, {
    hint: 'It is one word of printable ASCII characters. Is there a line break at its end?',
  });
}

/** Errors: `invalid_request`. */
function checkUrl(given: string | URL): URL {
  // Not quoted back: it may hold a password.
  if (!URL.canParse(String(given))) {
    throw new BulkheadError('invalid_request', 'The URL of the server is not one.', {
      hint: 'Write it like https://bulkhead.example.com or http://127.0.0.1:7070.',
    });
  }
  const url = new URL(given);
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw new BulkheadError('invalid_request', 'The URL of a server begins with http:// or https://.');
  }
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '') {
    throw new BulkheadError('invalid_request', 'The URL of a server has no user, query or fragment.', {
      hint: 'The API key is an option of its own.',
    });
  }
  if (!url.pathname.endsWith('/')) url.pathname += '/';
  return url;
}

export function ifMatch({
  ifVersion,
  ...options
}: VersionedOptions): CallOptions & { headers?: Record<string, string> } {
  return ifVersion === undefined ? options : { ...options, headers: { 'if-match': `"${ifVersion}"` } };
}
