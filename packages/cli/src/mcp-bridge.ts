// Between a client that speaks MCP over standard input and output and a server that speaks it over HTTP: messages go through as they are. The bridge adds the
// key, and begins anew when the server does not know the connection any more.

import type { Readable, Writable } from 'node:stream';
import { BulkheadError, type ErrorJson } from '@bulkhead/protocol';
import { StreamableHTTPClientTransport, StreamableHTTPError } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js';
import {
  type JSONRPCMessage,
  type JSONRPCRequest,
  isInitializeRequest,
  isJSONRPCRequest,
  isJSONRPCResultResponse,
} from '@modelcontextprotocol/sdk/types.js';

export interface BridgeOptions {
  readonly url: URL;
  readonly key: string;
  readonly stdin: Readable;
  readonly stdout: Writable;
  readonly signal: AbortSignal;
  /** Told what goes wrong between the two. */
  readonly onTrouble: (message: string) => void;
}

const messageMaxBytes = 8_388_608;
const lastAnswersMs = 5_000;

/** Resolves when the client has gone; the server has been told. */
export async function bridge(options: BridgeOptions): Promise<void> {
  const { stdin, stdout, signal } = options;
  const local = new StdioServerTransport(stdin, stdout, { maxBufferSize: messageMaxBytes });
  const over = Promise.withResolvers<void>();
  const remote = new Remote(options, (message) => void local.send(message));
  listen(local, {
    onmessage: (message) => void remote.send(message),
    onclose: () => over.resolve(),
    onerror: (error) => options.onTrouble(error.message),
  });
  signal.addEventListener('abort', () => over.resolve(), { once: true });
  stdin.once('end', () => void remote.answered(lastAnswersMs).then(() => over.resolve()));
  await local.start();
  if (!signal.aborted) await over.promise;
  await local.close();
  await remote.close();
}

type Listener = Partial<Pick<StdioServerTransport, 'onmessage' | 'onclose' | 'onerror'>>;

function listen(transport: StdioServerTransport | StreamableHTTPClientTransport, listener: Listener): void {
  Object.assign(transport, listener);
}

class Remote {
  readonly #options: BridgeOptions;
  readonly #deliver: (message: JSONRPCMessage) => void;
  readonly #waiting = new Map<JSONRPCRequest['id'], JSONRPCRequest>();
  #transport: StreamableHTTPClientTransport;
  #introduction: JSONRPCRequest | undefined;
  #renewing: Promise<void> | undefined;
  #onRenewed: ((message: JSONRPCMessage) => void) | undefined;
  #onAnswered: () => void = () => undefined;

  constructor(options: BridgeOptions, deliver: (message: JSONRPCMessage) => void) {
    this.#options = options;
    this.#deliver = deliver;
    this.#transport = this.#open();
  }

  #open(): StreamableHTTPClientTransport {
    const { url, key, onTrouble } = this.#options;
    const transport = new StreamableHTTPClientTransport(new URL('/mcp', url), {
      requestInit: { headers: { authorization: `Bearer ${key}` } },
      reconnectionOptions: {
        initialReconnectionDelay: 500,
        maxReconnectionDelay: 10_000,
        reconnectionDelayGrowFactor: 2,
        maxRetries: 20,
      },
    });
    listen(transport, {
      onmessage: (message) => this.#received(message),
      onerror: (error) => onTrouble(error.message),
    });
    return transport;
  }

  /** Never rejects: a request that cannot be sent is answered with why. */
  async send(message: JSONRPCMessage): Promise<void> {
    if (isJSONRPCRequest(message)) {
      this.#waiting.set(message.id, message);
      if (isInitializeRequest(message)) this.#introduction = message;
    }
    try {
      await this.#renewing;
      await this.#sendOrRenew(message);
    } catch (error) {
      if (isJSONRPCRequest(message)) this.#received(failure(message.id, describe(error)));
      else this.#options.onTrouble(describe(error).message);
    }
  }

  async #sendOrRenew(message: JSONRPCMessage): Promise<void> {
    const transport = this.#transport;
    try {
      await transport.send(message);
    } catch (error) {
      const isForgotten = error instanceof StreamableHTTPError && error.code === 404;
      if (!isForgotten || this.#introduction === undefined || isInitializeRequest(message)) throw error;
      if (transport === this.#transport) {
        this.#renewing ??= this.#renew().finally(() => (this.#renewing = undefined));
      }
      await this.#renewing;
      await this.#transport.send(message);
    }
  }

  /** A new connection, introduced as the client introduced itself; it does not hear of it. */
  async #renew(): Promise<void> {
    const { onTrouble } = this.#options;
    onTrouble('The server does not know this connection any more: beginning a new one.');
    const before = this.#transport;
    this.#transport = this.#open();
    await before.close();
    const introduced = Promise.withResolvers<void>();
    this.#onRenewed = () => introduced.resolve();
    const introduction: JSONRPCRequest = { jsonrpc: '2.0', method: 'initialize', ...this.#introduction, id: renewalId };
    await this.#transport.send(introduction);
    await introduced.promise;
    await this.#transport.send({ jsonrpc: '2.0', method: 'notifications/initialized' });
  }

  #received(message: JSONRPCMessage): void {
    if ('id' in message && !('method' in message)) {
      if (isJSONRPCResultResponse(message)) this.#learnVersion(message);
      if (message.id === renewalId) {
        this.#onRenewed?.(message);
        return;
      }
      if (message.id !== undefined) this.#waiting.delete(message.id);
      if (this.#waiting.size === 0) this.#onAnswered();
    }
    this.#deliver(message);
  }

  #learnVersion({ id, result }: { readonly id: unknown; readonly result: Readonly<Record<string, unknown>> }): void {
    const { protocolVersion } = result;
    const isIntroduction = id === renewalId || id === this.#introduction?.id;
    if (isIntroduction && typeof protocolVersion === 'string') this.#transport.setProtocolVersion(protocolVersion);
  }

  /** When nothing waits for an answer any more, or after so long. */
  async answered(timeoutMs: number): Promise<void> {
    if (this.#waiting.size === 0) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, timeoutMs);
    this.#onAnswered = resolve;
    await promise;
    clearTimeout(timer);
  }

  /** The server ends what was this connection's own. */
  async close(): Promise<void> {
    await this.#transport.terminateSession().catch(() => undefined);
    await this.#transport.close();
  }
}

/** No client uses it: its requests have ids of its own. */
const renewalId = 'bulkhead-bridge-renewal';

function failure(id: JSONRPCRequest['id'], error: ErrorJson): JSONRPCMessage {
  const message = error.hint === undefined ? error.message : `${error.message} ${error.hint}`;
  return { jsonrpc: '2.0', id, error: { code: -32_000, message, data: error } };
}

function describe(error: unknown): ErrorJson {
  if (error instanceof StreamableHTTPError) {
    if (error.code === 401 || error.code === 403) {
      return {
        code: error.code === 401 ? 'unauthenticated' : 'forbidden',
        message: 'The server does not take the key.',
        hint: 'Set BULKHEAD_API_KEY to a key of this server.',
      };
    }
    return { code: 'server_unreachable', message: `The server answered with status ${error.code ?? 'unknown'}.` };
  }
  if (BulkheadError.is(error)) return error.toJSON();
  return {
    code: 'server_unreachable',
    message: 'The server does not answer.',
    hint: 'Look whether BULKHEAD_URL is right and the server runs.',
  };
}
