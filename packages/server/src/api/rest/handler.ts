// What a handler of the HTTP dialect is given and answers with: all of it follows from the route's entry in the table.

import type { Operation, RouteSpec, Routes } from '@bulkhead/protocol';
import type { z } from 'zod';
import type { Caller } from '../../tenants/caller.ts';
import type { Service } from '../service.ts';

type Member<Spec, Name extends string> = Spec extends Readonly<Record<Name, infer Value>> ? Value : undefined;
type Parsed<Schema> = Schema extends z.ZodType ? z.output<Schema> : Schema extends 'bytes' ? Content : undefined;

/** Handlers answer with what they may not change any more. */
type Told<T> = unknown extends T
  ? T
  : T extends string | number | boolean | null | undefined
    ? T
    : T extends readonly (infer Item)[]
      ? readonly Told<Item>[]
      : { readonly [Key in keyof T]: Told<T[Key]> };

/** A body that is not JSON, as it comes. */
export interface Content {
  readonly bytes: AsyncIterable<Uint8Array>;
  /** As it was declared; there are never more. */
  readonly sizeBytes: number;
}

export interface Call<Spec extends RouteSpec = RouteSpec> {
  readonly service: Service;
  readonly caller: Member<Spec, 'scope'> extends 'public' ? null : Caller;
  readonly params: Parsed<Member<Spec, 'params'>>;
  readonly query: Parsed<Member<Spec, 'query'>>;
  readonly body: Parsed<Member<Spec, 'body'>>;
  /** Of `If-Match`. */
  readonly expectedVersion: number | undefined;
  /** `Accept` asks for `text/event-stream`, and the route has events. */
  readonly wantsEvents: boolean;
  /** Of `Last-Event-ID`. */
  readonly lastEventId: number | undefined;
  /** Aborted when the client has gone before its answer was complete. */
  readonly signal: AbortSignal;
  /** There is an `Idempotency-Key`: what is begun goes on without the client, who may ask again. */
  readonly mayBeRepeated: boolean;
  /** Does it once for the call's `Idempotency-Key`, and answers with the same again. What it answers with is kept: plain JSON, and not large. */
  readonly once: <T>(work: () => Promise<T>) => Promise<T>;
}

export interface ServerSentEvent {
  /** Where a reader that was cut off goes on. */
  readonly id?: number;
  readonly type: string;
  readonly data: unknown;
}

export class EventStream {
  readonly events: AsyncIterable<ServerSentEvent>;

  constructor(events: AsyncIterable<ServerSentEvent>) {
    this.events = events;
  }
}

/** An answer with another status than the table's. */
export class WithStatus<T> {
  readonly status: number;
  readonly answer: T;

  constructor(status: number, answer: T) {
    this.status = status;
    this.answer = answer;
  }
}

type Answered<Spec extends RouteSpec> =
  Member<Spec, 'answer'> extends z.ZodType
    ? Told<z.output<Member<Spec, 'answer'>>>
    : Member<Spec, 'answer'> extends 'bytes'
      ? AsyncIterable<Uint8Array>
      : void;

export type HandlerAnswer<Spec extends RouteSpec> =
  | Answered<Spec>
  | WithStatus<Answered<Spec>>
  | (Member<Spec, 'events'> extends z.ZodType ? EventStream : never);

export type Handler<Spec extends RouteSpec> = (call: Call<Spec>) => Promise<HandlerAnswer<Spec>>;

/** Routes that end in a WebSocket are mounted beside the others. */
type Plain = { [Name in Operation]: Member<Routes[Name], 'answer'> extends 'websocket' ? never : Name }[Operation];

/** A route without a handler is a type error. */
export type Handlers = { readonly [Name in Plain]: Handler<Routes[Name]> };
export type HandlersOf<Names extends Plain> = { readonly [Name in Names]: Handler<Routes[Name]> };
