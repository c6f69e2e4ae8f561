// A terminal in a session, over a WebSocket: bytes both ways, and control messages beside them.

import {
  BulkheadError,
  type RouteQuery,
  type Routes,
  type SessionId,
  fillPath,
  limits,
  routes,
  terminalEndSchema,
} from '@bulkhead/protocol';
import { throwIfAborted, untilAborted } from './abort.ts';
import type { CallOptions } from './options.ts';
import { parseJson } from './problem.ts';
import type { Transport } from './transport.ts';

export type TerminalRequest = RouteQuery<Routes['openTerminal']>;

export interface TerminalExit {
  readonly exitCode: number | null;
  readonly signal: number | null;
}

const subprotocol = 'bulkhead.terminal.v1';
/** A browser's WebSocket has no headers: a token for this one terminal goes where subprotocols are offered. */
const tokenSubprotocol = 'bulkhead.token.';
/** Output that nobody has read yet. A WebSocket cannot be told to wait. */
const unreadMaxBytes = 67_108_864;
const normalClosure = 1000;

/** Errors: those of the route, `server_unreachable`, `cancelled`. */
export async function openTerminal(
  transport: Transport,
  session: SessionId,
  { signal, ...query }: TerminalRequest & CallOptions,
): Promise<Terminal> {
  throwIfAborted(signal);
  const url = transport.resolve(fillPath(routes.openTerminal.path, { session }));
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined) url.searchParams.set(name, String(value));
  }
  const call = signal === undefined ? {} : { signal };
  const { token } = await transport.call('createTerminalToken', { params: { session } }, call);
  const terminal = new Terminal(new WebSocket(url, [subprotocol, tokenSubprotocol + token]));
  try {
    await untilAborted(terminal.opened, signal);
  } catch (error) {
    terminal.close();
    throw error;
  }
  return terminal;
}

/** Iterate it for what is printed. Closing it ends what runs in it. */
export class Terminal implements AsyncIterable<Uint8Array>, AsyncDisposable {
  /** Resolves when the terminal is there. */
  readonly opened: Promise<void>;
  /** How the program in it ended. Errors: `server_unreachable` when the connection ended first, `limit_exceeded` when nobody read what it printed. */
  readonly exit: Promise<TerminalExit>;
  readonly #socket: WebSocket;
  readonly #opened = Promise.withResolvers<void>();
  readonly #exit = Promise.withResolvers<TerminalExit>();
  readonly #closed = Promise.withResolvers<void>();
  #unread: Uint8Array[] = [];
  #unreadBytes = 0;
  #ended = false;
  #changed = Promise.withResolvers<void>();

  constructor(socket: WebSocket) {
    this.#socket = socket;
    this.opened = this.#opened.promise;
    this.exit = this.#exit.promise;
    for (const promise of [this.opened, this.exit]) promise.catch(() => undefined);
    socket.binaryType = 'arraybuffer';
    socket.addEventListener('open', () => this.#opened.resolve());
    socket.addEventListener('message', ({ data }: { readonly data: unknown }) => this.#receive(data));
    socket.addEventListener('close', ({ code }: { readonly code: number }) => this.#end(lost(code)));
  }

  /** What is typed. */
  write(data: string | Uint8Array): void {
    const bytes = typeof data === 'string' ? new TextEncoder().encode(data) : new Uint8Array(data);
    for (let start = 0; start < bytes.length; start += limits.terminalMessageMaxBytes) {
      this.#send(bytes.subarray(start, start + limits.terminalMessageMaxBytes));
    }
  }

  resize(columns: number, rows: number): void {
    this.#send(JSON.stringify({ type: 'resize', columns, rows }));
  }

  /** As Ctrl-C, whatever the terminal's mode is. */
  interrupt(): void {
    this.#send(JSON.stringify({ type: 'interrupt' }));
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, void> {
    for (;;) {
      const chunk = this.#unread.shift();
      if (chunk !== undefined) {
        this.#unreadBytes -= chunk.length;
        yield chunk;
      } else if (this.#ended) return;
      else await this.#changed.promise;
    }
  }

  close(): void {
    this.#socket.close(normalClosure);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    await this.#closed.promise;
  }

  /** What is sent to a terminal that has ended goes nowhere, as on any terminal. */
  #send(data: string | Uint8Array<ArrayBuffer>): void {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(data);
  }

  #receive(data: unknown): void {
    if (data instanceof ArrayBuffer) {
      this.#unread.push(new Uint8Array(data));
      this.#unreadBytes += data.byteLength;
      if (this.#unreadBytes > unreadMaxBytes) {
        this.#exit.reject(
          new BulkheadError('limit_exceeded', `Nobody reads the terminal: more than ${unreadMaxBytes} bytes wait.`),
        );
        this.close();
      }
    } else if (typeof data === 'string') {
      const end = terminalEndSchema.safeParse(parseJson(data));
      if (end.success) this.#exit.resolve({ exitCode: end.data.exitCode, signal: end.data.signal });
    }
    this.#wake();
  }

  #end(error: BulkheadError): void {
    this.#ended = true;
    this.#opened.reject(error);
    this.#exit.reject(error);
    this.#closed.resolve();
    this.#wake();
  }

  #wake(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }
}

/** Why a handshake failed, a browser does not say. */
function lost(code: number): BulkheadError {
  return new BulkheadError('server_unreachable', `The connection of the terminal has ended (${code}).`, {
    hint: 'Is the session there and yours, and does a proxy let WebSockets through?',
    details: { closeCode: code },
  });
}
