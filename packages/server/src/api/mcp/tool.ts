// What a tool is: data for the list, a schema that its arguments are parsed with, and one function. Descriptions are ours alone: nothing that comes out of
// a session ever gets into one.

import type { Scope } from '@bulkhead/protocol';
import type { CallToolResult, Tool as ToolListing, ToolAnnotations } from '@modelcontextprotocol/sdk/types.js';
import type { z } from 'zod';
import type { Caller } from '../../tenants/caller.ts';
import type { McpCall, McpSessions } from './mcp-sessions.ts';
import type { OwnSession } from './own-session.ts';
import type { Progress } from './progress.ts';
import { argumentsError } from './tool-error.ts';
import { inlineSchema } from './tool-schema.ts';
import type { TurnOrder } from './turn-order.ts';

export interface ToolContext {
  /** Of this very request. */
  readonly caller: Caller;
  readonly sessions: McpSessions;
  readonly ownSession: OwnSession;
  readonly turnOrder: TurnOrder;
  /** Aborted when the client cancels the call or closes the connection. */
  readonly signal: AbortSignal;
  readonly progress: Progress;
}

export interface ToolAnswer<Output> {
  readonly content: CallToolResult['content'];
  readonly output: Output;
  readonly isError?: boolean;
}

export interface ToolSpec<Input extends z.ZodObject, Output extends z.ZodObject> {
  readonly name: string;
  readonly title: string;
  readonly description: string;
  /** Who has it not, does not see the tool. */
  readonly scope: Scope;
  readonly input: Input;
  readonly output: Output;
  readonly hints: Required<Omit<ToolAnnotations, 'title'>>;
  readonly call: (context: ToolContext, input: z.output<Input>) => Promise<ToolAnswer<z.output<Output>>>;
}

export interface Tool {
  readonly name: string;
  readonly scope: Scope;
  readonly listing: ToolListing;
  /** Errors: `invalid_request`, and those of what it does. */
  call(context: ToolContext, args: unknown): Promise<CallToolResult>;
}

export function defineTool<Input extends z.ZodObject, Output extends z.ZodObject>(spec: ToolSpec<Input, Output>): Tool {
  const { name, title, description, scope, input, output, hints } = spec;
  return {
    name,
    scope,
    listing: {
      name,
      title,
      description,
      inputSchema: inlineSchema(input, 'input'),
      outputSchema: inlineSchema(output, 'output'),
      annotations: { title, ...hints },
    },
    async call(context, args) {
      const parsed = input.safeParse(args ?? {});
      if (!parsed.success) throw argumentsError(name, parsed.error);
      const answer = await spec.call(context, parsed.data);
      return {
        content: answer.content,
        structuredContent: output.parse(answer.output),
        ...(answer.isError === true ? { isError: true } : {}),
      };
    },
  };
}

/** What the calls of a tool's work are given. */
export function callOf({ signal, progress }: ToolContext): McpCall {
  return { signal, onProgress: (message) => progress.tell(message) };
}

export const readOnly = { readOnlyHint: true, destructiveHint: false, idempotentHint: true, openWorldHint: false };
