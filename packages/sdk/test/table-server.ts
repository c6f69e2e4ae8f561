// A small HTTP server that is made from the route table: it finds the operation, reads what comes by the table's schemas, and
// checks what its handlers answer by them too. Faults on order: a refusal, a connection cut before or after the work.

import assert from 'node:assert/strict';
import { type IncomingMessage, type Server, type ServerResponse, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  BulkheadError,
  type ErrorCode,
  type Operation,
  type RouteSpec,
  errorEntry,
  makeId,
  routeList,
} from '@bulkhead/protocol';

export interface TableCall {
  readonly operation: Operation;
  readonly params: Readonly<Record<string, string>>;
  readonly query: Readonly<Record<string, unknown>>;
  readonly body: unknown;
  readonly headers: IncomingMessage['headers'];
  /** What was sent as bytes. */
  readonly bytes: Buffer;
  readonly wantsEvents: boolean;
  readonly response: ServerResponse;
}

/** Answers with JSON, bytes, or by itself on `response` (`answered`). */
export type Handler = (call: TableCall) => unknown;
export const answered = Symbol('answered');

export type Fault =
  | { readonly kind: 'refuse'; readonly code: ErrorCode; readonly retryAfter?: string }
  | { readonly kind: 'cut-before' }
  | { readonly kind: 'cut-after' }
  | { readonly kind: 'raw'; readonly status: number; readonly headers?: Record<string, string>; readonly body: string };

export interface TableServer extends AsyncDisposable {
  readonly url: string;
  readonly calls: readonly TableCall[];
  /** For the next calls of an operation, in order. */
  fail(operation: Operation, ...faults: readonly (Fault | undefined)[]): void;
  /** Ends connections, and takes no more until `listen`. */
  close(): Promise<void>;
}

export type Handlers = { readonly [operation in Operation]?: Handler };

export const testKey = 'bk_test_0123456789abcdefghijklmnopqrstuvwxyz';

export async function startTableServer(
  handlers: Handlers,
  authorize: (authorization: string | undefined) => boolean = (given) => given === `Bearer ${testKey}`,
): Promise<TableServer> {
  const calls: TableCall[] = [];
  const faults = new Map<Operation, (Fault | undefined)[]>();
  const answers = new Map<string, { readonly sent: string; readonly answer: unknown }>();

  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const url = new URL(request.url ?? '/', 'http://server');
    const found = findRoute(request.method ?? '', url.pathname);
    if (found === undefined) throw new BulkheadError('not_found', 'There is no such route.');
    const { route, params } = found;
    if (route.scope !== 'public' && !authorize(request.headers.authorization)) {
      throw new BulkheadError('unauthenticated', 'The caller is not known.');
    }
    const call = await readCall(request, response, url, route, params);
    calls.push(call);
    const fault = faults.get(route.operation)?.shift();
    if (fault?.kind === 'cut-before') return void request.socket.destroy();
    if (fault?.kind === 'raw') return void response.writeHead(fault.status, fault.headers ?? {}).end(fault.body);
    if (fault?.kind === 'refuse') {
      if (fault.retryAfter !== undefined) response.setHeader('retry-after', fault.retryAfter);
      throw new BulkheadError(fault.code, `Refused with ${fault.code}.`, {
        hint: 'On order.',
        details: { on: 'order' },
      });
    }
    const answer = await work(route, call);
    if (fault?.kind === 'cut-after') return void request.socket.destroy();
    if (answer !== answered) send(response, route, answer);
  };

  /** Once for an idempotency key. */
  const work = async (route: Found['route'], call: TableCall): Promise<unknown> => {
    const handler = handlers[route.operation];
    if (handler === undefined) throw new BulkheadError('unsupported', `The test has no ${route.operation}.`);
    const key = route.creates === true ? call.headers['idempotency-key'] : undefined;
    if (route.creates === true && !call.wantsEvents)
      assert.ok(typeof key === 'string' && key.length <= 255, 'a key on whatever creates');
    const sent = JSON.stringify([route.operation, call.params, call.body]);
    const before = answers.get(String(key));
    if (key !== undefined && before !== undefined) {
      if (before.sent !== sent) throw new BulkheadError('idempotency_conflict', 'The key was used before.');
      return before.answer;
    }
    const answer = await handler(call);
    if (key !== undefined && answer !== answered) answers.set(String(key), { sent, answer });
    return answer;
  };

  const server = createServer((request, response) => {
    handle(request, response).catch((error: unknown) => refuse(response, error));
  });
  await listen(server);
  const { port } = server.address() as AddressInfo;
  const close = async (): Promise<void> => {
    server.closeAllConnections();
    await new Promise<void>((resolve) => void server.close(() => resolve()));
  };
  return {
    url: `http://127.0.0.1:${port}`,
    calls,
    fail: (operation, ...ordered) => void faults.set(operation, [...ordered]),
    close,
    [Symbol.asyncDispose]: close,
  };
}

async function listen(server: Server): Promise<void> {
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
}

interface Found {
  readonly route: RouteSpec & { readonly operation: Operation };
  readonly params: Readonly<Record<string, string>>;
}

function findRoute(method: string, path: string): Found | undefined {
  for (const route of routeList) {
    if (route.method !== method) continue;
    const match = new RegExp(`^${route.path.replaceAll(/\{([a-z]+)\}/g, '(?<$1>[^/]+)')}$`).exec(path);
    if (match === null) continue;
    const params = Object.entries(match.groups ?? {}).map(([name, text]) => [name, decodeURIComponent(text)]);
    return { route, params: Object.fromEntries(params) as Record<string, string> };
  }
  return undefined;
}

async function readCall(
  request: IncomingMessage,
  response: ServerResponse,
  url: URL,
  route: Found['route'],
  params: Found['params'],
): Promise<TableCall> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const bytes = Buffer.concat(chunks);
  if (route.body === 'bytes' && request.headers['content-length'] === undefined) {
    throw new BulkheadError('length_required', 'The length has to be stated.');
  }
  const text = bytes.toString();
  const isJson = route.body !== undefined && route.body !== 'bytes';
  if (isJson) assert.equal(request.headers['content-type'], 'application/json');
  return {
    operation: route.operation,
    params: parse(route.params, params) as Readonly<Record<string, string>>,
    query: parse(route.query, Object.fromEntries([...url.searchParams].map(fromQuery(route)))) as Record<
      string,
      unknown
    >,
    body: isJson ? parse(route.body, JSON.parse(text)) : undefined,
    headers: request.headers,
    bytes,
    wantsEvents: request.headers.accept === 'text/event-stream',
    response,
  };
}

/** What is text in an address is what the schema says. */
function fromQuery(route: RouteSpec): (entry: [string, string]) => [string, unknown] {
  return ([name, text]) => {
    for (const value of [text, Number(text), text === 'true']) {
      const shape = route.query?.shape[name] as { safeParse?: (value: unknown) => { success: boolean } } | undefined;
      if (shape?.safeParse?.(value).success === true) return [name, value];
    }
    return [name, text];
  };
}

function parse(schema: RouteSpec['body'], value: unknown): unknown {
  if (schema === undefined || schema === 'bytes') return value;
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new BulkheadError('invalid_request', `The request is not valid: ${parsed.error.message}`);
}

function send(response: ServerResponse, route: RouteSpec, answer: unknown): void {
  if (route.answer === undefined) return void response.writeHead(route.status).end();
  if (route.answer === 'bytes') {
    response.writeHead(route.status, { 'content-type': 'application/octet-stream' });
    return void response.end(answer);
  }
  assert.ok(route.answer !== 'websocket');
  assert.ok(route.answer.safeParse(answer).success, `${route.path} does not answer ${JSON.stringify(answer)}`);
  response.writeHead(route.status, { 'content-type': 'application/json' });
  // A newer server says more.
  response.end(JSON.stringify({ ...(answer as object), newerMember: { of: 'a newer server' } }));
}

function refuse(response: ServerResponse, error: unknown): void {
  if (response.headersSent) return void response.destroy();
  const known = BulkheadError.is(error) ? error : new BulkheadError('internal', String(error));
  const { status, title } = errorEntry(known.code);
  const { code, message, ...rest } = known.toJSON();
  response.writeHead(status, { 'content-type': 'application/problem+json' });
  const problem = {
    type: `urn:bulkhead:error:${code}`,
    title,
    status,
    detail: message,
    code,
    requestId: makeId('request'),
  };
  response.end(JSON.stringify({ ...problem, ...rest }));
}
