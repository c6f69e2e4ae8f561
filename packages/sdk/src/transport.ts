// A call of a route of the table: its address, headers and body from the table; sent, sent again where that is right, and its
// answer read by the table's schema. Members that the schema does not have are left out: a newer server may send them.

import {
  BulkheadError,
  type Operation,
  type RouteAnswer,
  type RouteBody,
  type RouteParams,
  type RouteQuery,
  type RouteSpec,
  type Routes,
  fillPath,
  makeId,
  routes,
} from '@bulkhead/protocol';
import { throwIfAborted } from './abort.ts';
import type { Upload } from './content.ts';
import type { CheckedOptions, CreateOptions } from './options.ts';
import { answerFailure, misunderstood, networkFailure, parseJson } from './problem.ts';
import { type Failure, isRepeatable, retryDelayMs } from './retry.ts';

export interface RouteInput<Op extends Operation> {
  readonly params?: RouteParams<Routes[Op]>;
  readonly query?: RouteQuery<Routes[Op]>;
  readonly body?: RouteBody<Routes[Op]>;
}

export interface SendOptions extends CreateOptions {
  readonly accept?: 'application/json' | 'text/event-stream' | 'application/octet-stream';
  readonly headers?: Readonly<Record<string, string>>;
  /** What is sent in place of JSON. */
  readonly upload?: Upload;
  /** Aborted: nothing is sent again, but what is under way goes on. */
  readonly lastAttempt?: AbortSignal;
  /** It does the same when it arrives twice, though its method does not say so. */
  readonly repeatable?: true;
  /** No idempotency key but the caller's: the server ends what nobody waits for any more, and it is not sent again. */
  readonly ephemeral?: true;
}

interface Attempt {
  readonly route: RouteSpec;
  readonly operation: Operation;
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | undefined;
  readonly options: SendOptions;
}

export class Transport {
  readonly #options: CheckedOptions;

  constructor(options: CheckedOptions) {
    this.#options = options;
  }

  /** The answer as the table types it. Errors: those of the route, `server_unreachable`, `cancelled`. */
  async call<Op extends Operation>(
    operation: Op,
    input: RouteInput<Op> = {},
    options: SendOptions = {},
  ): Promise<RouteAnswer<Routes[Op]>> {
    return await this.#send(operation, input, options, (response) => readAnswer(operation, response));
  }

  /** The answer as it comes. Its body is the caller's to read, or to cancel. */
  async open<Op extends Operation>(
    operation: Op,
    input: RouteInput<Op>,
    options: SendOptions & { readonly accept: NonNullable<SendOptions['accept']> },
  ): Promise<Response> {
    return await this.#send(operation, input, options, async (response) => response);
  }

  /** Where a path of the server is. */
  resolve(path: string): URL {
    return new URL(path.replace(/^\/+/, ''), this.#options.base);
  }

  /** Between one connection and the next. Errors: `cancelled`. */
  async wait(delayMs: number, signal: AbortSignal | undefined): Promise<void> {
    await this.#options.wait(delayMs, signal);
  }

  async #send<Op extends Operation, Answer>(
    operation: Op,
    input: RouteInput<Op>,
    options: SendOptions,
    read: (response: Response) => Promise<Answer>,
  ): Promise<Answer> {
    const route: RouteSpec = routes[operation];
    const { retry } = this.#options;
    const attempt: Attempt = {
      route,
      operation,
      url: this.#address(route, input),
      headers: headersOf(route, input, options),
      body: input.body === undefined ? undefined : JSON.stringify(input.body),
      options,
    };
    const isOnce = options.ephemeral === true && options.idempotencyKey === undefined;
    const repeatable =
      !isOnce && (options.repeatable ?? isRepeatable(route)) && !(options.upload?.body instanceof ReadableStream);
    let refused = false;
    for (let count = 1; ; count += 1) {
      throwIfAborted(options.signal);
      const outcome = await this.#attempt(attempt, refused, read);
      if ('answer' in outcome) return outcome.answer;
      const { error } = outcome;
      if (error.code === 'unauthenticated' && this.#options.credential.renewable && !refused) {
        refused = true;
        count -= 1;
        continue;
      }
      if (options.lastAttempt?.aborted === true) throw error;
      const delayMs = retryDelayMs(retry, count, outcome, repeatable, Math.random());
      if (delayMs === undefined) throw error;
      await this.wait(delayMs, options.lastAttempt ?? options.signal);
    }
  }

  async #attempt<Answer>(
    { url, route, operation, headers, body, options }: Attempt,
    refused: boolean,
    read: (response: Response) => Promise<Answer>,
  ): Promise<{ readonly answer: Answer } | Failure> {
    const { signal, upload } = options;
    const { credential, answerTimeoutMs } = this.#options;
    const bearer = route.scope === 'public' ? undefined : await credential.bearer(refused, signal);
    const late = new AbortController();
    // An upload takes as long as it takes.
    const timer =
      upload === undefined
        ? setTimeout(() => late.abort(tooLate(operation, answerTimeoutMs)), answerTimeoutMs)
        : undefined;
    try {
      const response = await this.#options.fetch(url, {
        method: route.method,
        headers: { ...headers, ...(bearer === undefined ? {} : { authorization: `Bearer ${bearer}` }) },
        signal: signal === undefined ? late.signal : AbortSignal.any([signal, late.signal]),
        // Another host is never given what was meant for this one.
        redirect: 'error',
        credentials: 'omit',
        cache: 'no-store',
        ...(body === undefined ? {} : { body }),
        ...(upload === undefined ? {} : { body: upload.body, duplex: 'half' }),
      });
      if (!response.ok) return await answerFailure(response, operation);
      return { answer: await read(response) };
    } catch (error) {
      return networkFailure(late.signal.aborted ? late.signal.reason : error, signal);
    } finally {
      clearTimeout(timer);
    }
  }

  #address<Op extends Operation>(route: RouteSpec, { params, query }: RouteInput<Op>): URL {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the table has only text in paths
    const url = this.resolve(fillPath(route.path, params as Readonly<Record<string, string>> | undefined));
    for (const [name, value] of Object.entries<unknown>(query ?? {})) {
      if (typeof value === 'string') url.searchParams.set(name, value);
      else if (value !== undefined) url.searchParams.set(name, JSON.stringify(value));
    }
    return url;
  }
}

function headersOf<Op extends Operation>(
  route: RouteSpec,
  input: RouteInput<Op>,
  { accept, headers, upload, idempotencyKey, ephemeral }: SendOptions,
): Readonly<Record<string, string>> {
  const newKey = ephemeral === true ? undefined : makeId('request');
  const key = route.creates === true ? (idempotencyKey ?? newKey) : undefined;
  return {
    accept: accept ?? (route.answer === 'bytes' ? 'application/octet-stream' : 'application/json'),
    ...(input.body === undefined ? {} : { 'content-type': 'application/json' }),
    ...(upload === undefined ? {} : { 'content-type': 'application/octet-stream' }),
    ...(upload?.lengthBytes === undefined ? {} : { 'content-length': String(upload.lengthBytes) }),
    ...(key === undefined ? {} : { 'idempotency-key': key }),
    ...headers,
  };
}

async function readAnswer<Op extends Operation>(operation: Op, response: Response): Promise<RouteAnswer<Routes[Op]>> {
  const { answer }: RouteSpec = routes[operation];
  // oxlint-disable typescript/no-unsafe-type-assertion -- what the schema gives is what the table's type says
  if (answer === undefined) {
    await response.body?.cancel();
    return undefined as RouteAnswer<Routes[Op]>;
  }
  if (answer === 'bytes') return new Uint8Array(await response.arrayBuffer()) as RouteAnswer<Routes[Op]>;
  if (answer === 'websocket') throw misunderstood(operation, response);
  const parsed = answer.safeParse(parseJson(await response.text()));
  if (!parsed.success) throw misunderstood(operation, response, parsed.error);
  return parsed.data as RouteAnswer<Routes[Op]>;
  // oxlint-enable typescript/no-unsafe-type-assertion
}

function tooLate(operation: string, answerTimeoutMs: number): BulkheadError {
  return new BulkheadError('server_unreachable', `There was no answer to ${operation} for ${answerTimeoutMs} ms.`, {
    hint: 'Is the server overloaded? `answerTimeoutMs` is how long a client waits.',
    details: { answerTimeoutMs },
  });
}
