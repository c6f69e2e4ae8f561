// The kinds of tools that there are. What a tool is to policies and guests follows from its settings alone; what it takes to open one is loaded when one of
// its kind is opened.

import type { ToolSettings } from '@bulkhead/protocol';
import type { Arguments } from '../authority/arguments.ts';
import type { Resource, ToolDescription } from '../authority/tool-description.ts';
import { describeEgressTool, openEgressTool, resourceOfConnection } from './egress/egress-tool.ts';
import { describeHttpTool, resourceOfHttpCall } from './http/http-operations.ts';
import { describeMcpTool, resourceOfMcpCall } from './mcp/describe-mcp-tool.ts';
import { describeS3Tool, resourceOfS3Call } from './s3/s3-operations.ts';
import { describeSqlTool, resourceOfSqlCall } from './sql/sql-tool.ts';
import type { Tool, ToolSurroundings } from './tool.ts';

export function describeTool(name: string, settings: ToolSettings): ToolDescription {
  switch (settings.kind) {
    case 'egress':
      return describeEgressTool(name, settings);
    case 'sql':
      return describeSqlTool({ name, ...settings });
    case 's3':
      return describeS3Tool(name, settings);
    case 'http':
      return describeHttpTool(name, settings);
    case 'mcp':
      return describeMcpTool(name, settings);
    default:
      return noSuchKind(settings);
  }
}

/** What a call works on: settings and arguments say it. */
export function resourceOfCall(name: string, settings: ToolSettings, operation: string, checked: Arguments): Resource {
  switch (settings.kind) {
    case 'egress':
      return resourceOfConnection(checked);
    case 'sql':
      return resourceOfSqlCall({ name, ...settings }, operation);
    case 's3':
      return resourceOfS3Call(settings, operation, checked);
    case 'http':
      return resourceOfHttpCall(settings, operation);
    case 'mcp':
      return resourceOfMcpCall(settings);
    default:
      return noSuchKind(settings);
  }
}

/** Errors: `invalid_request`, `tool_failed`, those of `surroundings.secret`. */
export async function openTool(name: string, settings: ToolSettings, surroundings: ToolSurroundings): Promise<Tool> {
  switch (settings.kind) {
    case 'egress':
      return openEgressTool(name, settings);
    case 'sql': {
      const { openSqlTool } = await import('./sql/open-sql-tool.ts');
      return await openSqlTool(name, settings, surroundings);
    }
    case 's3': {
      const { openS3Tool } = await import('./s3/open-s3-tool.ts');
      return await openS3Tool(name, settings, surroundings);
    }
    case 'http': {
      const { openHttpTool } = await import('./http/open-http-tool.ts');
      return await openHttpTool(name, settings, surroundings);
    }
    case 'mcp': {
      const { openMcpTool } = await import('./mcp/open-mcp-tool.ts');
      return await openMcpTool(name, settings, surroundings);
    }
    default:
      return noSuchKind(settings);
  }
}

/**
 * Settings as they are kept, once an administrator has sent them: with what the other end says that belongs into them. Errors: `invalid_request`,
 * `state_conflict` for what is not there as it was sent, `tool_failed`, those of `surroundings.secret`.
 */
export async function completeSettings(settings: ToolSettings, surroundings: ToolSurroundings): Promise<ToolSettings> {
  if (settings.kind !== 'mcp') return settings;
  const { approveTools } = await import('./mcp/approve-tools.ts');
  return await approveTools(settings, surroundings);
}

/** Settings are checked when they come in: this is for the compiler, which says where a new kind is missing. */
function noSuchKind(settings: never): never {
  throw new TypeError(`There is no such kind of tool: ${JSON.stringify(settings)}.`);
}
