// What is answered in a port's place by us and not by the guest: problems, and the way from an address with a token to one without.

import type { IncomingMessage, ServerResponse } from 'node:http';
import { BulkheadError, errorEntry, makeId } from '@bulkhead/protocol';

const always = {
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'; sandbox",
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
};

/** Where an answer has begun, it is cut off. */
export function answerProblem(response: ServerResponse, thrown: unknown): void {
  if (response.headersSent || response.destroyed) {
    response.destroy();
    return;
  }
  const error = BulkheadError.is(thrown)
    ? thrown
    : new BulkheadError('internal', 'Bulkhead failed; what happened is in the log of the server.', { cause: thrown });
  const { code, message, hint, details } = error;
  const { status, title, retry } = errorEntry(code);
  const requestId = makeId('request');
  const problem = {
    type: `urn:bulkhead:error:${code}`,
    title,
    status,
    detail: message,
    code,
    hint,
    details,
    requestId,
  };
  const body = Buffer.from(JSON.stringify(problem));
  response.writeHead(status, {
    ...always,
    'content-type': 'application/problem+json; charset=utf-8',
    'content-length': body.length,
    ...(retry === 'after' ? { 'retry-after': '1' } : {}),
    // What is left of the body is not read.
    connection: 'close',
  });
  response.end(body);
}

export function answerRedirect(
  request: IncomingMessage,
  response: ServerResponse,
  { location, cookie }: { readonly location: string; readonly cookie?: string },
): void {
  const headers = { ...always, ...(cookie === undefined ? {} : { 'set-cookie': cookie }) };
  const site = request.headers['sec-fetch-site'];
  if (cookie === undefined || site === undefined || site === 'none' || site === 'same-origin') {
    response.writeHead(303, { ...headers, location, 'content-length': 0 });
    response.end();
    return;
  }
  // After a link on another site a browser would follow a redirect without the cookie that it was just given; from a page of ours it takes it along.
  const address = location.replaceAll(/[&<>"']/g, (character) => `&#${character.codePointAt(0)};`);
  const body = Buffer.from(
    `<!doctype html><meta charset="utf-8"><title>Opening…</title><meta http-equiv="refresh" content="0; url=${address}"><a href="${address}">Open</a>\n`,
  );
  response.writeHead(200, {
    ...headers,
    'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
    'content-type': 'text/html; charset=utf-8',
    'content-length': body.length,
  });
  response.end(request.method === 'HEAD' ? undefined : body);
}
