// MCP over standard input and output: one client, this process's own. It ends with its client.

import type { Readable, Writable } from 'node:stream';
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js';
import { type JSONRPCMessage, isJSONRPCRequest } from '@modelcontextprotocol/sdk/types.js';
import { mcpLimits } from './mcp-limits.ts';
import { McpServer, type McpServerOptions } from './mcp-server.ts';

export interface StdioOptions extends Omit<McpServerOptions, 'callerOf'> {
  readonly stdin: Readable;
  readonly stdout: Writable;
  /** Aborted when it has to end at once. */
  readonly signal: AbortSignal;
}

/** Resolves when the client has gone, and everything that was its own with it. */
export async function serveStdio({ stdin, stdout, signal, ...options }: StdioOptions): Promise<void> {
  await using mcp = new McpServer({ ...options, callerOf: () => options.opener });
  const transport = new StdioServerTransport(stdin, stdout, { maxBufferSize: mcpLimits.messageMaxBytes });
  const over = Promise.withResolvers<void>();
  const answering = new Answering();
  Object.assign(transport, { onclose: () => over.resolve() });
  await mcp.server.connect(answering.watch(transport));
  signal.addEventListener('abort', () => over.resolve(), { once: true });
  if (signal.aborted) over.resolve();
  // What was asked before the input ended is answered, so that a file can be piped in; but not waited for for long.
  stdin.once('end', () => void answering.none(lastAnswersMs).then(() => over.resolve()));
  stdin.once('error', () => over.resolve());
  await over.promise;
}

const lastAnswersMs = 5_000;

/** Requests that have no answer yet. */
class Answering {
  readonly #open = new Set<unknown>();
  #onNone: () => void = () => undefined;

  /** The same transport, looked at from outside. */
  watch(transport: StdioServerTransport): StdioServerTransport {
    const send = transport.send.bind(transport);
    return Object.assign(transport, {
      send: async (message: JSONRPCMessage): Promise<void> => {
        await send(message);
        if (!('method' in message) && 'id' in message) this.#close(message.id);
      },
      onmessage: (message: JSONRPCMessage): void => {
        if (isJSONRPCRequest(message)) this.#open.add(message.id);
        else if ('method' in message && message.method === 'notifications/cancelled') {
          this.#close(message.params?.['requestId']);
        }
      },
    });
  }

  #close(id: unknown): void {
    this.#open.delete(id);
    if (this.#open.size === 0) this.#onNone();
  }

  async none(timeoutMs: number): Promise<void> {
    if (this.#open.size === 0) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, timeoutMs);
    this.#onNone = resolve;
    await promise;
    clearTimeout(timer);
  }
}
