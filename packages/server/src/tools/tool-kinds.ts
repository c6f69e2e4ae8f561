// The kinds of tools that there are. What a tool is to policies and guests follows from its settings alone; what it takes to open one is loaded when one of
// its kind is opened.

import type { ToolSettings } from '@bulkhead/protocol';
import type { ToolDescription } from '../authority/tool-description.ts';
import { describeS3Tool } from './s3/s3-operations.ts';
import { describeSqlTool } from './sql/sql-tool.ts';
import type { Tool, ToolSurroundings } from './tool.ts';

export function describeTool(name: string, settings: ToolSettings): ToolDescription {
  switch (settings.kind) {
    case 'sql':
      return describeSqlTool({ name, ...settings });
    case 's3':
      return describeS3Tool(name, settings);
    default:
      return noSuchKind(settings);
  }
}

/** Errors: `invalid_request`, `tool_failed`, those of `surroundings.secret`. */
export async function openTool(name: string, settings: ToolSettings, surroundings: ToolSurroundings): Promise<Tool> {
  switch (settings.kind) {
    case 'sql': {
      const { openSqlTool } = await import('./sql/open-sql-tool.ts');
      return await openSqlTool(name, settings, surroundings);
    }
    case 's3': {
      const { openS3Tool } = await import('./s3/open-s3-tool.ts');
      return await openS3Tool(name, settings, surroundings);
    }
    default:
      return noSuchKind(settings);
  }
}

/** Settings are checked when they come in: this is for the compiler, which says where a new kind is missing. */
function noSuchKind(settings: never): never {
  throw new TypeError(`There is no such kind of tool: ${JSON.stringify(settings)}.`);
}
