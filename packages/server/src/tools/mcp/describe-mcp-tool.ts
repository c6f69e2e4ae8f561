import type { McpSettings, PinnedTool } from '@bulkhead/protocol';
import type { OperationDescription, Resource, ToolDescription } from '../../authority/tool-description.ts';

/** What was approved, whatever the server says today. */
export function describeMcpTool(name: string, { description, tools = {} }: McpSettings): ToolDescription {
  const operations = Object.entries(tools).map(([operation, tool]): [string, OperationDescription] => [
    operation,
    { description: tool.description, parameters: parametersOf(tool), resource: 'Server' },
  ]);
  return { name, description, operations: Object.fromEntries(operations) };
}

/** The server, by its address without a query. */
export function resourceOfMcpCall({ url }: McpSettings): Resource {
  const { origin, pathname } = new URL(url);
  return { type: 'Server', id: `${origin}${pathname}`, within: [] };
}

function parametersOf({ parameters }: PinnedTool): OperationDescription['parameters'] {
  return Object.fromEntries(Object.entries(parameters).map(([name, { as: _name, ...parameter }]) => [name, parameter]));
}
