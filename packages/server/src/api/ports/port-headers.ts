// Which headers pass between a client and a server in a session. To the guest goes nothing that is ours or another server's: no credential, no cookie that
// it did not set itself. From the guest comes nothing that has a meaning beyond its own place.

import type { IncomingMessage, OutgoingHttpHeaders } from 'node:http';
import type { PortAddresses, PortPlace } from './port-addresses.ts';
import { readCookies } from './port-request.ts';

/** What belongs to one connection (RFC 9110, 7.6.1). */
const hopByHop: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-authentication-info',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
  'expect',
]);
/** A client's `Authorization` is its key for Bulkhead: what is meant for the guest comes by another name. */
export const guestAuthorizationHeader = 'x-bulkhead-guest-authorization';
const neverToGuest = /^(?:host|cookie|authorization|forwarded|via|x-real-ip|x-forwarded-.*|x-bulkhead-.*)$/;
const neverFromGuest =
  /^(?:set-cookie2?|service-worker-allowed|clear-site-data|strict-transport-security|public-key-pins(?:-report-only)?|expect-ct|alt-svc|nel|report-to|reporting-endpoints|www-authenticate|content-security-policy-report-only|origin-agent-cluster|accept-ch|critical-ch|x-bulkhead-.*)$/;

/** In front of the names of guests' cookies where they share a host with others. */
const sharedCookiePrefix = 'bhg_';
const ourCookies = /^(?:__host-|__secure-)?(?:bulkhead|bhg_)/i;

/** A page that a session serves on the API's own origin is of an origin of its own, whatever it says. */
const sandbox = 'sandbox allow-scripts allow-forms allow-popups allow-modals allow-downloads';

export interface PortContext {
  readonly addresses: PortAddresses;
  readonly place: PortPlace;
  readonly port: number;
  readonly isTls: boolean;
}

type Headers = Readonly<Record<string, string | readonly string[]>>;

function namedByConnection({ headers }: IncomingMessage): ReadonlySet<string> {
  const names = (headers.connection ?? '').split(',').map((name) => name.trim().toLowerCase());
  return new Set(names);
}

export function toGuestHeaders(request: IncomingMessage, context: PortContext): OutgoingHttpHeaders {
  const { headers } = request;
  const named = namedByConnection(request);
  const kept = Object.entries(headers).filter(
    ([name, value]) => value !== undefined && !hopByHop.has(name) && !named.has(name) && !neverToGuest.test(name),
  );
  const { addresses, place, port, isTls } = context;
  const cookies = cookiesForGuest(headers.cookie, addresses.kind);
  const authorization = headers[guestAuthorizationHeader];
  return {
    ...Object.fromEntries(kept),
    ...(cookies === '' ? {} : { cookie: cookies }),
    ...(authorization === undefined ? {} : { authorization: String(authorization) }),
    ...(headers['transfer-encoding'] === undefined ? {} : { 'transfer-encoding': 'chunked' }),
    host: `localhost:${port}`,
    connection: 'close',
    'x-forwarded-for': request.socket.remoteAddress ?? '',
    'x-forwarded-host': headers.host ?? '',
    'x-forwarded-proto': isTls ? 'https' : 'http',
    ...(place.prefix === '' ? {} : { 'x-forwarded-prefix': place.prefix }),
  };
}

function cookiesForGuest(header: string | undefined, kind: PortAddresses['kind']): string {
  const theirs = readCookies(header).flatMap(([name, value]) => {
    if (kind === 'each') return ourCookies.test(name) ? [] : [`${name}=${value}`];
    return name.startsWith(sharedCookiePrefix) ? [`${name.slice(sharedCookiePrefix.length)}=${value}`] : [];
  });
  return theirs.join('; ');
}

export function toClientHeaders(answer: IncomingMessage, context: PortContext): Headers {
  const named = namedByConnection(answer);
  const headers: Record<string, string | readonly string[]> = {};
  for (const [name, value] of Object.entries(answer.headers)) {
    if (value === undefined || hopByHop.has(name) || named.has(name) || neverFromGuest.test(name)) continue;
    headers[name] = value;
  }
  if (answer.headers['transfer-encoding'] !== undefined) delete headers['content-length'];
  const cookies = (answer.headers['set-cookie'] ?? []).flatMap((cookie) => cookieForClient(cookie, context));
  if (cookies.length > 0) headers['set-cookie'] = cookies;
  const { location } = answer.headers;
  if (location !== undefined) headers['location'] = locationForClient(location, context);
  headers['cache-control'] = cacheControlForClient(answer.headers['cache-control']);
  headers['x-content-type-options'] = 'nosniff';
  headers['referrer-policy'] ??= 'same-origin';
  if (context.addresses.kind === 'api') headers['content-security-policy'] = sandboxed(answer);
  return headers;
}

/** Policies in several headers all hold. */
function sandboxed({ headers }: IncomingMessage): readonly string[] {
  const own = headers['content-security-policy'];
  return [...(own === undefined ? [] : [own].flat()), sandbox];
}

/** With the guest's own attributes, but for those that reach beyond its place. */
function cookieForClient(cookie: string, { addresses, place, isTls }: PortContext): readonly string[] {
  const [pair = '', ...attributes] = cookie.split(';').map((part) => part.trim());
  const equals = pair.indexOf('=');
  if (equals < 1 || !/^[\x20-\x7e]*$/.test(cookie)) return [];
  const name = pair.slice(0, equals).trim();
  if (ourCookies.test(name)) return [];
  const isShared = addresses.kind !== 'each';
  if (isShared && /^__(?:host|secure)-/i.test(name)) return [];
  const path = attributes
    .map((attribute) => /^path=(\/.*)$/i.exec(attribute)?.[1])
    .findLast((found) => found !== undefined);
  const kept = attributes.filter((attribute) =>
    /^(?:max-age|expires|httponly|samesite|partitioned)\b/i.test(attribute),
  );
  return [
    [
      `${isShared ? sharedCookiePrefix : ''}${name}=${pair.slice(equals + 1)}`,
      `Path=${withPrefix(path ?? '/', place.prefix)}`,
      ...kept,
      ...(isTls ? ['Secure'] : []),
    ].join('; '),
  ];
}

function withPrefix(path: string, prefix: string): string {
  return path === prefix || path.startsWith(`${prefix}/`) ? path : `${prefix}${path}`;
}

/** Within the guest: below its prefix. What leads elsewhere leads there. */
function locationForClient(location: string, { place, port }: PortContext): string {
  if (/^\/(?!\/)/.test(location)) return withPrefix(location, place.prefix);
  const own = new RegExp(`^https?://(?:localhost|127\\.0\\.0\\.1|\\[::1\\]):${port}(?=[/?#]|$)`, 'i');
  if (!own.test(location)) return location;
  const path = location.replace(own, '');
  return withPrefix(path.startsWith('/') ? path : `/${path}`, place.prefix);
}

/** What needs a token must not be kept by a cache that serves others. */
function cacheControlForClient(value: string | undefined): string {
  if (value === undefined) return 'private, no-cache';
  const kept = value
    .split(',')
    .map((directive) => directive.trim())
    .filter((directive) => directive !== '' && !/^(?:public|private|s-maxage)\b/i.test(directive));
  return ['private', ...kept].join(', ');
}
