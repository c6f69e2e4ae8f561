import type { McpSettings, PinnedTool } from '@bulkhead/protocol';
import type { OperationDescription, ToolDescription } from '../../authority/tool-description.ts';

/** What was approved, whatever the server says today. */
export function describeMcpTool(name: string, { description, tools = {} }: McpSettings): ToolDescription {
  const operations = Object.entries(tools).map(([operation, tool]): [string, OperationDescription] => [
    operation,
    { description: tool.description, parameters: parametersOf(tool), resource: 'Server' },
  ]);
  return { name, description, operations: Object.fromEntries(operations) };
}

function parametersOf({ parameters }: PinnedTool): OperationDescription['parameters'] {
  return Object.fromEntries(Object.entries(parameters).map(([name, { as: _name, ...parameter }]) => [name, parameter]));
}
