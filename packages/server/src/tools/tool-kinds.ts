// The kinds of tools that there are. What a tool is to policies and guests follows from its settings alone; what it takes to open one is loaded when one of
// its kind is opened.

import type { ToolSettings } from '@bulkhead/protocol';
import type { Arguments } from '../authority/arguments.ts';
import type { Resource, ToolDescription } from '../authority/tool-description.ts';
import { describeEgressTool, openEgressTool, resourceOfConnection } from './egress/egress-tool.ts';
import { describeSqlTool, resourceOfSqlCall } from './sql/sql-tool.ts';
import type { Tool, ToolSurroundings } from './tool.ts';

export function describeTool(name: string, settings: ToolSettings): ToolDescription {
  switch (settings.kind) {
    case 'egress':
      return describeEgressTool(name, settings);
    case 'sql':
      return describeSqlTool({ name, ...settings });
    default:
      return noSuchKind(settings);
  }
}

/** What a call works on, as far as settings and arguments say it; undefined where only the tool itself knows. */
export function resourceOfCall(
  name: string,
  settings: ToolSettings,
  operation: string,
  checked: Arguments,
): Resource | undefined {
  switch (settings.kind) {
    case 'egress':
      return resourceOfConnection(checked);
    case 'sql':
      return resourceOfSqlCall({ name, ...settings }, operation);
    default:
      return undefined;
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
    default:
      return noSuchKind(settings);
  }
}

/** Settings are checked when they come in: this is for the compiler, which says where a new kind is missing. */
function noSuchKind(kind: never): never {
  throw new TypeError(`There is no kind of tool ${JSON.stringify(kind)}.`);
}
