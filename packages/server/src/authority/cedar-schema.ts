// The Cedar schema that a tenant's policies are checked against: the entities that every tenant has, and one action for each operation of each
// of its tools, with the types of its arguments. A policy that names an operation or an argument that is not there is refused when it is uploaded.

import type { ParameterKind } from '@bulkhead/protocol';
import { type Parameter, type Parameters, isVisible } from './parameters.ts';
import { type ToolDescription, actionName } from './tool-description.ts';

export const cedarNamespace = 'Bulkhead';

const entities = `
  entity Tenant = { name: String };
  entity Subject in [Tenant];
  entity Session in [Tenant, Subject] = {
    region: String,
    tier: String,
    runtime: String,
    ageSeconds: Long,
    turnCount: Long,
    isFork: Bool,
  } tags String;
  entity Bucket;
  entity Prefix in [Prefix, Bucket];
  entity Object in [Prefix, Bucket];
  entity Database;
  entity Query in [Database];
  entity Host in [Host];
  entity Endpoint in [Host];
  entity Server;
`;

const cedarTypes: Readonly<Partial<Record<ParameterKind, string>>> = {
  name: 'String',
  path: 'String',
  text: 'String',
  integer: 'Long',
  boolean: 'Bool',
  names: 'Set<String>',
  file: '{ sha256: String, size: Long }',
};

/** In the order of the names, so that the same tools give the same text. */
export function writeCedarSchema(tools: readonly ToolDescription[]): string {
  const actions = tools.flatMap((tool) =>
    Object.entries(tool.operations).map(
      ([name, { parameters, resource }]) =>
        `  action ${JSON.stringify(actionName(tool.name, name))} appliesTo {\n    principal: Session,\n    resource: ${resource},\n    context: { ${writeContext(parameters)} }\n  };\n`,
    ),
  );
  return `namespace ${cedarNamespace} {${entities}${actions.toSorted().join('')}}\n`;
}

function writeContext(parameters: Parameters): string {
  return Object.entries(parameters)
    .filter(([, { kind }]) => isVisible(kind))
    .map(([name, parameter]) => writeAttribute(name, parameter))
    .join(', ');
}

function writeAttribute(name: string, { kind, optional }: Parameter): string {
  return `${JSON.stringify(name)}${optional === true ? '?' : ''}: ${cedarTypes[kind] ?? 'String'}`;
}
