// What a route of the API is, as data. The server, the SDKs, the OpenAPI document, the reference page and the tests of authorization are
// derived from the table of them (routes.ts): nothing about a route is said anywhere else.

import type { z } from 'zod';
import type { ErrorCode } from './errors.ts';
import type { Scope } from './scopes.ts';

export const httpMethods = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'] as const;
export type HttpMethod = (typeof httpMethods)[number];

export interface RouteSpec {
  readonly method: HttpMethod;
  /** With `{name}` for each member of `params`. */
  readonly path: `/${string}`;
  /** A sentence, for people. */
  readonly summary: string;
  readonly tag: RouteTag;
  /** `public`: anybody. `caller`: whoever is known. Otherwise the scope that a caller needs. */
  readonly scope: Scope | 'public' | 'caller';
  readonly params?: z.ZodObject;
  readonly query?: z.ZodObject;
  /** A schema of JSON, or `bytes`. */
  readonly body?: z.ZodType | 'bytes';
  readonly status: 200 | 201 | 202 | 204 | 101;
  /** A schema of JSON, `bytes`, or nothing. */
  readonly answer?: z.ZodType | 'bytes' | 'websocket';
  /** The events that it answers with where `Accept` is `text/event-stream`. */
  readonly events?: z.ZodType;
  /** It creates something: takes an `Idempotency-Key`. */
  readonly creates?: true;
  /** The answer has an `ETag`; with `If-Match`, only that version is changed. */
  readonly versioned?: true;
  /** The same answer comes with this status too, where the status is part of what is asked. */
  readonly otherStatus?: 503;
  /** Beside those that every route of its kind can answer with (`routeErrors`). */
  readonly errors: readonly ErrorCode[];
}

export const routeTags = [
  'system',
  'tenants',
  'authority',
  'approvals',
  'sessions',
  'turns',
  'files',
  'commands',
  'terminals',
  'ports',
] as const;
export type RouteTag = (typeof routeTags)[number];

/** Any route may answer with these; those that need a caller, with the second list too. */
export const commonErrors: readonly ErrorCode[] = ['invalid_request', 'limit_exceeded', 'server_stopping', 'internal'];
export const callerErrors: readonly ErrorCode[] = ['unauthenticated', 'forbidden', 'rate_limited', 'store_unavailable'];

/** Every code that a route can answer with: its own, and those that come with what it takes. */
export function routeErrors(route: RouteSpec): readonly ErrorCode[] {
  const codes: readonly ErrorCode[] = [
    ...commonErrors,
    ...(route.scope === 'public' ? [] : callerErrors),
    ...(route.body === undefined ? [] : (['unsupported_media_type'] as const)),
    ...(route.creates === true ? (['idempotency_conflict'] as const) : []),
    ...route.errors,
  ];
  return [...new Set(codes)];
}

/** Whether a request may name the version that it means, with `If-Match`. */
export function takesIfMatch(route: RouteSpec): boolean {
  return route.errors.includes('precondition_failed');
}

/** The path with its parameters filled in; each is escaped. */
export function fillPath(path: string, params: Readonly<Record<string, string>> = {}): string {
  return path.replaceAll(/\{([a-z]+)\}/g, (_, name: string) => {
    const value = params[name];
    if (value === undefined) throw new TypeError(`${path} needs ${name}`);
    return encodeURIComponent(value);
  });
}

type Given<Schema> = Schema extends z.ZodType ? z.input<Schema> : unknown;
type Told<Schema> = Schema extends z.ZodType ? z.output<Schema> : Schema extends 'bytes' ? Uint8Array : undefined;
type Member<Spec, Name extends string> = Spec extends Readonly<Record<Name, infer Value>> ? Value : undefined;

/** What a caller gives a route. */
export type RouteParams<Spec extends RouteSpec> = Given<Member<Spec, 'params'>>;
export type RouteQuery<Spec extends RouteSpec> = Given<Member<Spec, 'query'>>;
export type RouteBody<Spec extends RouteSpec> = Given<Member<Spec, 'body'>>;
/** What it answers with. */
export type RouteAnswer<Spec extends RouteSpec> = Told<Member<Spec, 'answer'>>;
