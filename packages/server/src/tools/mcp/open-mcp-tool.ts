import type { McpSettings } from '@bulkhead/protocol';
import { openCredential } from '../credential.ts';
import type { ToolSurroundings } from '../tool.ts';
import { McpTool } from './mcp-tool.ts';

/** Nothing is connected yet: that is done for each session that calls. Errors: `state_conflict`, those of `secret`. */
export async function openMcpTool(
  name: string,
  settings: McpSettings,
  { secret, resolve }: ToolSurroundings,
): Promise<McpTool> {
  await openCredential(settings.credential, secret);
  return new McpTool({ name, settings, secret, resolve });
}
