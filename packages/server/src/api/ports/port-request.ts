// What a request for a port may look like. Refused is whatever two readers of it could read differently.

import type { IncomingMessage } from 'node:http';
import { BulkheadError } from '@bulkhead/protocol';

export const tokenHeader = 'x-bulkhead-port-token';
export const tokenParameter = 'bulkhead_token';
export const tokenCookie = 'bulkhead_port_token';
/** Where one name is set for several paths a browser sends them all. */
const cookiesWithTokenMaxCount = 4;
const targetMaxLength = 8192;
const refusedMethods: ReadonlySet<string> = new Set(['CONNECT', 'TRACE', 'TRACK']);

/** Errors: `invalid_request`, `method_not_allowed`. */
export function checkPortRequest(request: IncomingMessage): void {
  const { method = '', url = '' } = request;
  if (refusedMethods.has(method.toUpperCase())) throw new BulkheadError('method_not_allowed', `No ${method} here.`);
  checkTarget(url);
  checkFraming(request);
}

/** Dots and slashes that are written as something else, and what no path has. */
function checkTarget(target: string): void {
  if (target.length > targetMaxLength)
    throw refused(`The target of a request has at most ${targetMaxLength} characters.`);
  if (!target.startsWith('/')) throw refused('The target of a request begins with a slash.');
  if (/[^\x21-\x7e]|[\\#]/.test(target)) throw refused('The target holds a character that no target has.');
  const [path = ''] = target.split('?', 1);
  if (/%(?![0-9a-f]{2})/i.test(path)) throw refused('The path is not percent-encoded.');
  if (/%(?:2f|5c|[01][0-9a-f]|7f)/i.test(path)) throw refused('The path holds an encoded slash or control character.');
  const isTrick = path
    .replaceAll(/%2e/gi, '.')
    .split('/')
    .some((segment) => /^\.{1,2}(?:;|%3b|$)/i.test(segment));
  if (isTrick) throw refused('The path holds a segment of dots.');
}

/** The HTTP library refuses these, too; what is sent on must not depend on it. */
function checkFraming({ rawHeaders }: IncomingMessage): void {
  const counts = new Map<string, number>();
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = (rawHeaders[at] ?? '').toLowerCase();
    counts.set(name, (counts.get(name) ?? 0) + 1);
    if (/[\r\n\0]/.test(rawHeaders[at + 1] ?? '')) throw refused('A header holds a line break.');
  }
  for (const name of ['host', 'content-length', 'transfer-encoding', 'upgrade']) {
    if ((counts.get(name) ?? 0) > 1) throw refused(`The header ${name} is given twice.`);
  }
  if (counts.has('content-length') && counts.has('transfer-encoding')) {
    throw refused('The length of the body is given in two ways.');
  }
}

export interface GivenTokens {
  readonly tokens: readonly string[];
  readonly from: 'header' | 'query' | 'cookie';
  /** The target without the token. */
  readonly target: string;
}

/** The first place that has any counts. */
export function readTokens(request: IncomingMessage, target: string): GivenTokens {
  const header = request.headers[tokenHeader];
  const [path = '', ...queries] = target.split('?');
  const fields = queries.join('?').split('&');
  const kept = fields.filter((field) => !isTokenField(field));
  const withoutToken = kept.length === 0 || queries.length === 0 ? path : `${path}?${kept.join('&')}`;
  if (header !== undefined) return { tokens: [String(header)], from: 'header', target: withoutToken };
  const given = fields.filter(isTokenField).map((field) => field.slice(tokenParameter.length + 1));
  if (given.length > 0) return { tokens: given.slice(0, 1), from: 'query', target: withoutToken };
  const tokens = readCookies(request.headers.cookie)
    .filter(([name]) => name === tokenCookie)
    .map(([, value]) => value);
  return { tokens: tokens.slice(0, cookiesWithTokenMaxCount), from: 'cookie', target };
}

function isTokenField(field: string): boolean {
  return field.startsWith(`${tokenParameter}=`);
}

export function readCookies(header: string | undefined): readonly (readonly [name: string, value: string])[] {
  return (header ?? '').split(';').flatMap((part) => {
    const equals = part.indexOf('=');
    return equals < 1 ? [] : [[part.slice(0, equals).trim(), part.slice(equals + 1).trim()] as const];
  });
}

/**
 * A browser sends a cookie with whatever it is made to ask for. Whoever comes with a cookie comes from a page of the port itself, or follows a link.
 * Errors: `forbidden`.
 */
export function checkOrigin(request: IncomingMessage): void {
  const { origin, host } = request.headers;
  const site = request.headers['sec-fetch-site'];
  const isNavigation =
    request.headers['sec-fetch-mode'] === 'navigate' && ['GET', 'HEAD'].includes(request.method ?? '');
  const isForeign = origin !== undefined && hostOf(origin) !== host?.toLowerCase();
  const isForeignSite = site !== undefined && site !== 'same-origin' && site !== 'none';
  if (!isForeign && (!isForeignSite || isNavigation)) return;
  throw new BulkheadError('forbidden', 'This port is not for pages of other origins.', {
    hint: `Programs send the token in the header ${tokenHeader}.`,
  });
}

function hostOf(origin: string): string | undefined {
  return URL.canParse(origin) ? new URL(origin).host : undefined;
}

function refused(message: string): BulkheadError {
  return new BulkheadError('invalid_request', message);
}
