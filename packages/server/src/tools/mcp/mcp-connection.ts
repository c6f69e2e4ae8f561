// One connection to an MCP server. The server is offered nothing of ours: no sampling, no roots, no questions to a person. Its tools are asked for when it
// connects, when it says that they have changed, and again after a while, since it need not say so.

import { BulkheadError } from '@bulkhead/protocol';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import {
  type CallToolResult,
  CallToolResultSchema,
  ErrorCode,
  McpError,
  ToolListChangedNotificationSchema,
} from '@modelcontextprotocol/sdk/types.js';
import { z } from 'zod';
import { printable } from '../../lib/printable.ts';
import type { OpenCredential } from '../credential.ts';
import { mcpBounds } from './mcp-bounds.ts';
import { makePinnedFetch, type PinnedFetchOptions } from './pinned-fetch.ts';
import { type ListedTool, digestOf } from './pin-tools.ts';

/** Less than the SDK's own: what a server says beside it is not looked at, and does not fail the list. */
const listSchema = z.object({
  tools: z
    .array(
      z.object({
        name: z.string().min(1).max(1024),
        title: z.string().optional(),
        description: z.string().optional(),
        inputSchema: z.record(z.string(), z.unknown()),
      }),
    )
    .max(mcpBounds.listedMaxCount),
  nextCursor: z.string().max(4096).optional(),
});

export class McpConnection implements AsyncDisposable {
  readonly #client: Client;
  readonly #transport: StreamableHTTPClientTransport;
  readonly #timeoutMs: number;
  #list: { readonly atMs: number; readonly digests: Promise<ReadonlyMap<string, string>> } | undefined;
  #disposed: Promise<void> | undefined;

  private constructor(options: PinnedFetchOptions) {
    this.#timeoutMs = options.timeoutMs;
    this.#client = new Client({ name: 'bulkhead', version: '1' }, { capabilities: {} });
    this.#transport = new StreamableHTTPClientTransport(options.url, { fetch: makePinnedFetch(options) });
    this.#client.setNotificationHandler(ToolListChangedNotificationSchema, () => {
      this.#list = undefined;
    });
  }

  /** Errors: those of the connection, `McpError`. */
  static async open(options: PinnedFetchOptions): Promise<McpConnection> {
    const connection = new McpConnection(options);
    try {
      await connection.#client.connect(connection.#transport, {
        timeout: options.timeoutMs,
        maxTotalTimeout: options.timeoutMs,
      });
      return connection;
    } catch (error) {
      await connection[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Errors: `limit_exceeded`, those of the connection, `McpError`. */
  async listTools(signal?: AbortSignal): Promise<readonly ListedTool[]> {
    const listed: ListedTool[] = [];
    let cursor: string | undefined;
    for (let page = 0; page < mcpBounds.pagesMaxCount; page += 1) {
      const params = cursor === undefined ? {} : { cursor };
      const answer = await this.#request({ method: 'tools/list', params }, listSchema, signal);
      listed.push(...answer.tools);
      cursor = answer.nextCursor;
      if (listed.length > mcpBounds.listedMaxCount) break;
      if (cursor === undefined) return listed;
    }
    throw new BulkheadError('limit_exceeded', `The server has more than ${mcpBounds.listedMaxCount} tools, or pages.`);
  }

  /** The digest of a tool as it is now, or a moment ago; undefined for one that is not there, or is there twice. */
  async digestNow(name: string): Promise<string | undefined> {
    const isFresh = this.#list !== undefined && performance.now() - this.#list.atMs < mcpBounds.listMaxAgeMs;
    if (!isFresh) {
      const list = { atMs: performance.now(), digests: this.listTools().then(toDigests) };
      this.#list = list;
      list.digests.catch(() => {
        if (this.#list === list) this.#list = undefined;
      });
    }
    return (await this.#list?.digests)?.get(name);
  }

  async call(name: string, given: Readonly<Record<string, unknown>>, signal: AbortSignal): Promise<CallToolResult> {
    const request = { method: 'tools/call', params: { name, arguments: { ...given } } };
    return await this.#request(request, CallToolResultSchema, signal);
  }

  async #request<T extends z.ZodType>(
    request: { readonly method: string; readonly params: Record<string, unknown> },
    schema: T,
    signal?: AbortSignal,
  ): Promise<z.output<T>> {
    const timeout = this.#timeoutMs;
    return await this.#client.request(request, schema, {
      timeout,
      maxTotalTimeout: timeout,
      ...(signal === undefined ? {} : { signal }),
    });
  }

  /** Says goodbye, and does not wait long for an answer. Idempotent; never rejects. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#disposed ??= (async (): Promise<void> => {
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, mcpBounds.goodbyeMs);
      await Promise.race([this.#transport.terminateSession().catch(() => undefined), promise]);
      clearTimeout(timer);
      await this.#client.close().catch(() => undefined);
      await this.#transport.close().catch(() => undefined);
    })();
    return this.#disposed;
  }
}

function toDigests(listed: readonly ListedTool[]): ReadonlyMap<string, string> {
  const digests = new Map<string, string>();
  for (const tool of listed) digests.set(tool.name, digests.has(tool.name) ? 'twice' : digestOf(tool));
  return digests;
}

/** Codes of the SDK's own, for what the server has not said. */
const ownCodes: ReadonlySet<number> = new Set([ErrorCode.ConnectionClosed, ErrorCode.RequestTimeout]);

/** What a server refused with, cut to size; undefined for what it has not said. */
export function refusalOf(error: unknown, credential: OpenCredential): BulkheadError | undefined {
  if (!(error instanceof McpError) || ownCodes.has(error.code)) return undefined;
  const answer = credential.isIn(error.message) ? '' : printable(error.message, mcpBounds.errorMaxLength);
  return new BulkheadError(
    'tool_failed',
    'The server of the tool refused.',
    answer === '' ? {} : { details: { answer } },
  );
}
