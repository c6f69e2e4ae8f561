// The tools that a session was granted, as tools of the connection that is for it. A call is the session's, with its authority: decided, on record and answered
// as one that its own code makes. Who the caller is decides only whether they have the session.

import { BulkheadError, type SessionId } from '@bulkhead/protocol';
import type { CallToolResult, Tool as ToolListing } from '@modelcontextprotocol/sdk/types.js';
import type { Parameter, Parameters } from '../../authority/parameters.ts';
import type { OperationDescription, ToolDescription } from '../../authority/tool-description.ts';
import type { CallAnswer } from '../../guest/guest-calls.ts';
import type { Caller } from '../../tenants/caller.ts';
import { mcpLimits } from './mcp-limits.ts';
import type { McpSessions } from './mcp-sessions.ts';
import { makeMark, programText, shorten, withoutControls } from './program-text.ts';
import { toolError } from './tool-error.ts';
import { type Tool, type ToolContext, callOf } from './tool.ts';

export interface GrantedToolsOptions {
  readonly sessions: Pick<McpSessions, 'tools'>;
  readonly session: SessionId;
  /** The list is not what it was when it was asked for. */
  readonly onChange: () => Promise<void>;
}

/** A dash is in no name of a tool or an operation, and in none of our own tools' names: what is one name is two again in one way only. */
const namePattern = /^([a-z][a-z0-9_]{0,62})-([a-z][a-z0-9_]{0,62})$/;

export class GrantedTools {
  readonly #options: GrantedToolsOptions;
  /** What was listed last, as text. */
  #listed: string | undefined;

  constructor(options: GrantedToolsOptions) {
    this.#options = options;
  }

  /** None for a caller that may not call them, or when the session is not to be had now. */
  async list(caller: Caller): Promise<readonly ToolListing[]> {
    if (!caller.scopes.has('sessions:write')) return [];
    const listings = await this.#read(caller);
    this.#listed = JSON.stringify(listings);
    return listings;
  }

  async #read(caller: Caller): Promise<readonly ToolListing[]> {
    const { sessions, session } = this.#options;
    try {
      const tools = await sessions.tools(caller, session);
      return tools.flatMap(listingsOf).slice(0, mcpLimits.grantedToolsMaxCount);
    } catch (error) {
      if (BulkheadError.is(error)) return [];
      throw error;
    }
  }

  /** Whether there is such a tool is a part of the decision: to ask for one that is not there is refused like any other. */
  find(name: string): Pick<Tool, 'scope' | 'call'> | undefined {
    const [, tool, operation] = namePattern.exec(name) ?? [];
    if (tool === undefined || operation === undefined) return undefined;
    return {
      scope: 'sessions:write',
      call: async (context, args) => {
        const result = await this.#call(context, { tool, operation, args });
        await this.#compare(context.caller);
        return result;
      },
    };
  }

  async #call(
    context: ToolContext,
    { tool, operation, args }: { readonly tool: string; readonly operation: string; readonly args: unknown },
  ): Promise<CallToolResult> {
    const { session } = this.#options;
    const { sessions, caller, signal } = context;
    const argumentBytes = Buffer.from(JSON.stringify(args ?? {}));
    const answer = await sessions.callTool(
      caller,
      session,
      { tool, operation, argumentBytes, signal },
      { ...callOf(context), valueMaxBytes: mcpLimits.valueMaxBytes },
    );
    return toResult(session, `${tool}.${operation}`, answer);
  }

  /** Looked at with every call, which asks what there is now anyway. A client that has not asked for a list has nothing that could be old. */
  async #compare(caller: Caller): Promise<void> {
    if (this.#listed === undefined) return;
    const now = JSON.stringify(await this.#read(caller));
    if (now === this.#listed) return;
    this.#listed = now;
    // A client without a stream for it hears of it the next time that it asks.
    await this.#options.onChange().catch(() => undefined);
  }
}

function toResult(session: SessionId, action: string, answer: CallAnswer): CallToolResult {
  const mark = makeMark();
  if (!answer.ok) {
    const { code, message, hint, details } = answer.error;
    const { content, ...failed } = toolError(
      new BulkheadError(code, message, {
        ...(hint === undefined ? {} : { hint }),
        ...(details === undefined ? {} : { details }),
      }),
    );
    const said = details?.['answer'];
    // What the other end says of its refusal is no word of ours.
    const other = typeof said === 'string' ? [text(programText(`${action} refused`, said, mark))] : [];
    return { ...failed, content: [...content, ...other] };
  }
  const how = `${action} answered (session ${session}).`;
  if ('file' in answer) {
    const { file, contentType, size } = answer;
    const where = `${how} The answer lies in the session, at ${file} (${contentType}, ${size} bytes).`;
    return { content: [text(where)], structuredContent: { session, file, contentType, size } };
  }
  const { value } = answer;
  const shown = shorten(typeof value === 'string' ? value : JSON.stringify(value), mcpLimits.stdoutMaxLength);
  return {
    content: [text(how), text(programText(action, shown.text, mark))],
    structuredContent: { session, value: typeof value === 'string' ? withoutControls(value) : value },
  };
}

function text(said: string): { type: 'text'; text: string } {
  return { type: 'text', text: said };
}

function listingsOf({ name, description, operations }: ToolDescription): readonly ToolListing[] {
  return Object.entries(operations).map(([operation, described]) => ({
    name: `${name}-${operation}`,
    title: `${name}.${operation}`,
    description: `${described.description}\n\nOperation ${operation} of the tool ${name}: ${description}`,
    inputSchema: inputSchemaOf(described),
    annotations: { readOnlyHint: false, destructiveHint: true, idempotentHint: false, openWorldHint: true },
  }));
}

function inputSchemaOf({ parameters }: OperationDescription): ToolListing['inputSchema'] {
  return {
    type: 'object',
    properties: Object.fromEntries(Object.entries(parameters).map(([name, each]) => [name, schemaOf(each)])),
    required: requiredOf(parameters),
    additionalProperties: false,
  };
}

function requiredOf(parameters: Parameters): string[] {
  return Object.entries(parameters).flatMap(([name, { optional }]) => (optional === true ? [] : [name]));
}

function schemaOf({ kind, description, values, minimum, maximum, maxLength }: Parameter): Record<string, unknown> {
  const listed = values === undefined ? {} : { enum: [...values] };
  switch (kind) {
    case 'integer':
    case 'number':
      return {
        type: kind,
        description,
        ...(minimum === undefined ? {} : { minimum }),
        ...(maximum === undefined ? {} : { maximum }),
      };
    case 'boolean':
      return { type: 'boolean', description };
    case 'names':
      return { type: 'array', description, items: { type: 'string', ...listed } };
    case 'json':
      return { description };
    case 'name':
    case 'path':
    case 'text':
    case 'file':
    default:
      return { type: 'string', description, ...listed, ...(maxLength === undefined ? {} : { maxLength }) };
  }
}
