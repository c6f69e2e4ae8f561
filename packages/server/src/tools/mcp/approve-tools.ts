// An administrator sets an MCP server up: its tools are asked for, and kept with the settings as what was approved. Whoever wants to look first sends the settings,
// reads what was kept, and sends it again with `tools`: then it has to be the same still.

import { BulkheadError, type McpSettings, mcpSettings } from '@bulkhead/protocol';
import { openCredential, refuseEcho } from '../credential.ts';
import { unreachable } from '../remote-errors.ts';
import type { ToolSurroundings } from '../tool.ts';
import { McpConnection, refusalOf } from './mcp-connection.ts';
import { fetchOptions } from './mcp-tool.ts';
import { type ListedTool, digestOf, pinTools } from './pin-tools.ts';

/** Errors: `invalid_request`, `state_conflict`, `limit_exceeded`, `tool_failed`, those of `secret`. */
export async function approveTools(settings: McpSettings, { secret, resolve }: ToolSurroundings): Promise<McpSettings> {
  const listed = await listTools(settings, { secret, resolve });
  if (settings.tools === undefined)
    return mcpSettings.parse({ ...settings, tools: pinTools(chosen(settings, listed)) });
  for (const [name, pinned] of Object.entries(settings.tools)) {
    const now = listed.filter((tool) => tool.name === pinned.name);
    const [only] = now;
    if (now.length === 1 && only !== undefined && digestOf(only) === pinned.digest) continue;
    throw new BulkheadError('state_conflict', `The server does not offer ${name} as it was sent.`, {
      hint: 'Leave `tools` out to approve what the server offers now.',
      details: { field: `tools.${name}` },
    });
  }
  return settings;
}

async function listTools(settings: McpSettings, { secret, resolve }: ToolSurroundings): Promise<readonly ListedTool[]> {
  const credential = await openCredential(settings.credential, secret);
  try {
    await using connection = await McpConnection.open(fetchOptions(settings, credential, resolve));
    const listed = await connection.listTools();
    refuseEcho(credential, listed.map(({ description = '', title = '' }) => `${title}\n${description}`).join('\n'));
    return listed;
  } catch (error) {
    throw refusalOf(error, credential) ?? unreachable(error, AbortSignal.any([]));
  }
}

/** Those of `only`, or all. Errors: `invalid_request` for one that is not there. */
function chosen({ only }: McpSettings, listed: readonly ListedTool[]): readonly ListedTool[] {
  if (only === undefined) return listed;
  return only.map((name) => {
    const found = listed.find((tool) => tool.name === name);
    if (found !== undefined) return found;
    throw new BulkheadError('invalid_request', `The server has no tool ${JSON.stringify(name)}.`, {
      details: { field: 'only' },
    });
  });
}
