// An MCP server as a tool: its own tools, as they were when an administrator approved them. Before one is called, what the server says of it now is held against
// that; what has changed is refused until it is approved again. Each session has a connection of its own, so that what a server remembers of one is not another's.

import { BulkheadError, type McpSettings, type PinnedTool, type SessionId } from '@bulkhead/protocol';
import { StreamableHTTPError } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import type { Arguments } from '../../authority/arguments.ts';
import type { Resource, ToolDescription } from '../../authority/tool-description.ts';
import type { Resolve } from '../../lib/network-addresses.ts';
import { orAbort } from '../../lib/or-abort.ts';
import { type OpenCredential, openCredential } from '../credential.ts';
import { inTime } from '../remote-errors.ts';
import type { Tool, ToolContext, ToolResult, ToolSurroundings } from '../tool.ts';
import { describeMcpTool, resourceOfMcpCall } from './describe-mcp-tool.ts';
import { mcpBounds } from './mcp-bounds.ts';
import { McpConnection, refusalOf } from './mcp-connection.ts';
import { readResult } from './mcp-result.ts';

export interface McpToolOptions {
  readonly name: string;
  readonly settings: McpSettings;
  readonly secret: ToolSurroundings['secret'];
  readonly resolve?: Resolve | undefined;
}

interface Kept {
  readonly opening: Promise<McpConnection>;
  calls: number;
  usedAtMs: number;
  timer: NodeJS.Timeout | undefined;
}

export class McpTool implements Tool {
  readonly description: ToolDescription;
  readonly #options: McpToolOptions;
  readonly #kept = new Map<SessionId, Kept>();
  readonly #closing = new Set<Promise<void>>();

  constructor(options: McpToolOptions) {
    this.#options = options;
    this.description = describeMcpTool(options.name, options.settings);
  }

  resourceOf(): Resource {
    return resourceOfMcpCall(this.#options.settings);
  }

  async call(operation: string, checked: Arguments, { session, signal }: ToolContext): Promise<ToolResult> {
    const { settings, secret } = this.#options;
    const tool = settings.tools?.[operation];
    if (tool === undefined) throw new BulkheadError('not_found', 'There is no such operation.');
    const { timeoutMs } = settings;
    const credential = await openCredential(settings.credential, secret);
    return await inTime({ signal, timeoutMs }, async (bounded) => {
      const ask = (): Promise<ToolResult> =>
        this.#use(session, credential, bounded, async (connection) => {
          if ((await connection.digestNow(tool.name)) !== tool.digest) throw changed();
          const result = await connection.call(tool.name, sentArguments(tool, checked), bounded);
          return readResult(result, settings.bytesMax, credential);
        });
      // A server that was started anew knows nothing of the connection, and has done nothing.
      return await ask().catch((error: unknown) => {
        if (isForgotten(error)) return ask();
        throw error;
      });
    });
  }

  async #use(
    session: SessionId,
    credential: OpenCredential,
    signal: AbortSignal,
    work: (connection: McpConnection) => Promise<ToolResult>,
  ): Promise<ToolResult> {
    const kept = this.#connect(session, credential);
    kept.calls += 1;
    try {
      const connection = await orAbort(kept.opening, signal);
      return await orAbort(work(connection), signal);
    } catch (error) {
      const refusal = signal.aborted ? undefined : refusalOf(error, credential);
      // What a server refused it has answered; anything else may be a connection that answers nothing any more.
      if (refusal === undefined && !BulkheadError.is(error)) this.#retire(session, kept);
      throw refusal ?? error;
    } finally {
      kept.calls -= 1;
      this.#rest(session, kept);
    }
  }

  #connect(session: SessionId, credential: OpenCredential): Kept {
    const known = this.#kept.get(session);
    if (known !== undefined) return known;
    this.#makeRoom();
    const { settings, resolve } = this.#options;
    const opening = McpConnection.open(fetchOptions(settings, credential, resolve));
    const kept: Kept = { opening, calls: 0, usedAtMs: performance.now(), timer: undefined };
    opening.catch(() => undefined);
    this.#kept.set(session, kept);
    return kept;
  }

  /** Errors: `limit_exceeded` when all are at work. */
  #makeRoom(): void {
    if (this.#kept.size < mcpBounds.connectionsMaxCount) return;
    const idle = [...this.#kept].filter(([, { calls }]) => calls === 0);
    const [oldest] = idle.toSorted(([, one], [, other]) => one.usedAtMs - other.usedAtMs);
    if (oldest === undefined) {
      throw new BulkheadError('limit_exceeded', 'Too many sessions use this tool at once.', {
        hint: 'Try again in a moment.',
      });
    }
    this.#retire(...oldest);
  }

  #rest(session: SessionId, kept: Kept): void {
    kept.usedAtMs = performance.now();
    clearTimeout(kept.timer);
    if (kept.calls > 0) return;
    if (this.#kept.get(session) !== kept) this.#close(kept);
    else kept.timer = setTimeout(() => this.#retire(session, kept), mcpBounds.connectionIdleMs).unref();
  }

  /** No call begins on it any more; it is closed when the last has ended. */
  #retire(session: SessionId, kept: Kept): void {
    if (this.#kept.get(session) === kept) this.#kept.delete(session);
    clearTimeout(kept.timer);
    if (kept.calls === 0) this.#close(kept);
  }

  #close({ opening }: Kept): void {
    const closing = opening
      .then(
        (connection) => connection[Symbol.asyncDispose](),
        () => undefined,
      )
      .finally(() => this.#closing.delete(closing));
    this.#closing.add(closing);
  }

  /** What is under way ends first. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const [session, kept] of this.#kept) this.#retire(session, kept);
    await Promise.all(this.#closing);
  }
}

export function fetchOptions(
  { url, addresses, timeoutMs, bytesMax }: McpSettings,
  credential: OpenCredential,
  resolve: Resolve | undefined,
): Parameters<typeof McpConnection.open>[0] {
  const answerMaxBytes = Math.max(mcpBounds.listMaxBytes, Math.ceil((bytesMax * 4) / 3) + mcpBounds.overheadBytes);
  return { url: new URL(url), reach: { ranges: addresses, resolve }, credential, timeoutMs, answerMaxBytes };
}

/** By the names that the server has for them. */
function sentArguments({ parameters }: PinnedTool, { value }: Arguments): Record<string, unknown> {
  return Object.fromEntries(Object.entries(value).map(([name, argument]) => [parameters[name]?.as ?? name, argument]));
}

function isForgotten(error: unknown): boolean {
  return error instanceof StreamableHTTPError && error.code === 404;
}

function changed(): BulkheadError {
  return new BulkheadError('state_conflict', 'The tool is not what it was when it was approved.', {
    hint: 'An operator has to look at what the server offers now, and set the tool again to approve it.',
  });
}
