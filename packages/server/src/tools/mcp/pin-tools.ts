// What a server's tools are at the moment that they are approved: their digests, and how each reads as an operation of ours.

import { createHash } from 'node:crypto';
import { BulkheadError, type PinnedTool, limits } from '@bulkhead/protocol';
import { type ArgumentObject, canonicalize } from '../../authority/arguments.ts';
import type { Parameter } from '../../authority/parameters.ts';
import { given } from '../../lib/given.ts';
import { printable } from '../../lib/printable.ts';
import { nameAll } from '../guest-names.ts';
import { propertiesOf, toParameter } from '../schema-parameter.ts';
import { isShallow } from './mcp-result.ts';

/** What a server says of one of its tools, as far as it is looked at. */
export interface ListedTool {
  readonly name: string;
  readonly title?: string | undefined;
  readonly description?: string | undefined;
  readonly inputSchema: unknown;
}

type Pin = Omit<PinnedTool, 'parameters'> & {
  readonly parameters: Readonly<Record<string, Parameter & { readonly as?: string }>>;
};

/** Errors: `tool_failed` for a schema that is nested too deeply to be read. */
export function digestOf({ name, title, description, inputSchema }: ListedTool): string {
  if (!isShallow(inputSchema)) throw new BulkheadError('tool_failed', 'The schema of a tool is nested too deeply.');
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- it came as JSON
  const { canonical } = canonicalize(given({ name, title, description, inputSchema }) as ArgumentObject);
  return createHash('sha256').update(canonical).digest('hex');
}

/** Errors: `invalid_request` for names that collide, or parameters that are no such thing; `limit_exceeded`. */
export function pinTools(listed: readonly ListedTool[]): Record<string, Pin> {
  if (listed.length > limits.toolOperationsMaxCount) {
    throw new BulkheadError('limit_exceeded', `A tool has at most ${limits.toolOperationsMaxCount} operations.`, {
      hint: 'Name those that are needed in `only`.',
    });
  }
  return Object.fromEntries([...nameAll(listed, ({ name }) => name)].map(([name, tool]) => [name, pin(tool)]));
}

function pin(tool: ListedTool): Pin {
  const properties = propertiesOf(tool.inputSchema);
  if (properties === undefined) {
    throw new BulkheadError('invalid_request', `The tool ${JSON.stringify(tool.name)} takes what no operation can.`, {
      hint: `Its input has to be an object of at most ${limits.toolParametersMaxCount} properties; leave it out with \`only\`.`,
    });
  }
  const named = nameAll(properties, ({ name }) => name);
  const parameters = [...named].map(([name, property]): [string, Pin['parameters'][string]] => [
    name,
    {
      ...toParameter(property.name, property.schema, property.isRequired),
      ...(property.name === name ? {} : { as: property.name }),
    },
  ]);
  const description = printable(tool.description ?? tool.title ?? '', 2000);
  return {
    name: tool.name,
    digest: digestOf(tool),
    description: description === '' ? tool.name : description,
    parameters: Object.fromEntries(parameters),
  };
}
