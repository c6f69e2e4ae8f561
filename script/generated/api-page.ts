// docs/api.md: the API for people, from the same document as programs get.

import { type ErrorCode, callerErrors, commonErrors, routeErrors, routeList, routeTags } from '@bulkhead/protocol';
import {
  type JsonSchema,
  type OpenApiDocument,
  type OpenApiOperation,
  componentName,
} from '@bulkhead/protocol/openapi';

const listCodes = (codes: readonly ErrorCode[]): string =>
  codes.map((name) => `[\`${name}\`](errors.md#${name})`).join(', ');

const intro = `# API

This page is made by \`script/generate\` from the table of routes in \`packages/protocol\`; [openapi.json](openapi.json) says the same to programs, and the server answers
with it at \`/v1/openapi.json\`. What the codes of errors mean is in [errors.md](errors.md).

- **Who is asking**: \`Authorization: Bearer KEY\`, an API key or a token of the configured issuer. The key's scopes say what it may do; a resource of another tenant does not exist.
- **Bodies** are JSON unless a route says otherwise. A member that is not known is refused, so that a misspelt one is not ignored.
- **Errors** are \`application/problem+json\` with \`code\`, \`detail\`, \`hint\`, \`details\` and \`requestId\`. Where trying again can help, \`Retry-After\` says when.
  Any route may answer with ${listCodes(commonErrors)}; those that need a caller, with ${listCodes(callerErrors)} too. Each route lists its others.
- **Creating twice**: routes that create take an \`Idempotency-Key\`. The same key with the same request is answered as the first time; with another request it is refused.
- **Two writers**: an answer's \`ETag\` sent as \`If-Match\` changes only that version.
- **Lists** come in pages: \`limit\`, and \`cursor\` with the \`nextCursor\` of the page before.
- **Streams**: with \`Accept: text/event-stream\` the events come as they happen. A stream that broke goes on after the event that \`Last-Event-ID\` names.
`;

/** A cell of a table: no bar ends it, no line breaks it. */
const cell = (text: string): string => text.replaceAll('|', String.raw`\|`).replaceAll('\n', ' ');
// Routes and objects have the same names but for the case, which the anchors of headings do not have.
const routeAnchor = (operation: string): string => `#${operation.toLowerCase()}`;
const objectAnchor = (name: string): string => `#${name.toLowerCase()}-object`;
const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [head, head.map(() => '---'), ...rows].map((row) => `| ${row.map(cell).join(' | ')} |`).join('\n');

const isSchema = (value: unknown): value is JsonSchema => typeof value === 'object' && value !== null;
const schemasIn = (value: unknown): readonly JsonSchema[] => (Array.isArray(value) ? value.filter(isSchema) : []);
const code = (value: unknown): string => `\`${JSON.stringify(value)}\``;

/** A schema as a type, in a few words, with links to the objects below. */
function typeOf(schema: JsonSchema): string {
  const name = componentName(schema);
  if (name !== undefined) return `[${name}](${objectAnchor(name)})`;
  const alternatives = [...schemasIn(schema['anyOf']), ...schemasIn(schema['oneOf'])];
  if (alternatives.length > 0) return alternatives.map(typeOf).join(' or ');
  if (schema['const'] !== undefined) return code(schema['const']);
  if (Array.isArray(schema['enum'])) return schema['enum'].map(code).join(', ');
  const { type } = schema;
  if (type === 'array' && isSchema(schema['items'])) return `array of ${typeOf(schema['items'])}`;
  if (type === 'object') return objectType(schema);
  if (Array.isArray(type)) return type.join(' or ');
  return typeof type === 'string' ? type : 'any JSON';
}

function objectType(schema: JsonSchema): string {
  const { properties, additionalProperties } = schema;
  if (isSchema(properties))
    return `object of ${Object.keys(properties)
      .map((name) => `\`${name}\``)
      .join(', ')}`;
  return isSchema(additionalProperties) ? `object with values of ${typeOf(additionalProperties)}` : 'object';
}

const boundWords = [
  ['minimum', 'at least'],
  ['maximum', 'at most'],
  ['minLength', 'length at least'],
  ['maxLength', 'length at most'],
  ['minItems', 'items at least'],
  ['maxItems', 'items at most'],
  ['maxProperties', 'members at most'],
] as const;

/** What else is said of a value: its meaning, its bounds, what it is when left out. */
function remarksOf(schema: JsonSchema, description = schema['description']): string {
  const bounds = boundWords.flatMap(([key, words]) => {
    const value = schema[key];
    return typeof value === 'number' ? [`${words} ${value.toLocaleString('en')}`] : [];
  });
  const { pattern, format } = schema;
  if (typeof pattern === 'string' && format !== 'date-time') bounds.push(`form \`${pattern}\``);
  const sentence = bounds.join(', ');
  return [
    typeof description === 'string' ? description : '',
    sentence === '' ? '' : `${sentence[0]?.toUpperCase()}${sentence.slice(1)}.`,
    schema['default'] === undefined ? '' : `Default ${code(schema['default'])}.`,
  ]
    .filter((part) => part !== '')
    .join(' ');
}

/** The members of an object, one a line. */
function memberTable(schema: JsonSchema): string {
  const { properties, required } = schema;
  if (!isSchema(properties)) return '';
  const names = Array.isArray(required) ? required : [];
  const rows = Object.entries(properties)
    .filter((entry): entry is [string, JsonSchema] => isSchema(entry[1]))
    .map(([name, member]) => [
      `\`${name}\`${names.includes(name) ? '' : ' (optional)'}`,
      typeOf(member),
      remarksOf(member),
    ]);
  return table(['member', 'type', ''], rows);
}

function describeObject(name: string, schema: JsonSchema): string {
  const { description } = schema;
  const parts = [`### ${name} object`, ...(typeof description === 'string' ? [description] : [])];
  const variants = schemasIn(schema['oneOf']);
  if (variants.length > 0) {
    parts.push('One of:', ...variants.map(memberTable));
  } else if (isSchema(schema['properties'])) {
    parts.push(memberTable(schema));
  } else {
    const remarks = remarksOf(schema, undefined);
    parts.push(`${typeOf(schema)}${remarks === '' ? '' : `. ${remarks}`}`);
  }
  return parts.join('\n\n');
}

/** What a request is sent with, or answered with. */
function describeContent(content: Readonly<Record<string, JsonSchema>>): string {
  return Object.entries(content)
    .map(([type, { schema, 'x-event-data': event }]) => {
      if (isSchema(event)) return `or \`${type}\` of ${typeOf(event)}`;
      if (type !== 'application/json' || !isSchema(schema)) return `\`${type}\``;
      return typeOf(schema);
    })
    .join(', ');
}

function whoMay(scope: string): string {
  if (scope === 'public') return 'anybody';
  return scope === 'caller' ? 'any caller' : `\`${scope}\``;
}

function describeRoute(route: (typeof routeList)[number], operation: OpenApiOperation): string {
  const parts = [`### ${route.operation}`, `\`${route.method} ${route.path}\``, route.summary];
  const { parameters = [], requestBody, responses } = operation;
  if (parameters.length > 0) {
    const rows = parameters.map(({ name, in: place, required, description, schema }) => [
      `\`${name}\`${required ? '' : ' (optional)'}`,
      place,
      typeOf(schema),
      remarksOf(schema, description),
    ]);
    parts.push(table(['parameter', 'in', 'type', ''], rows));
  }
  const answer = responses[route.status];
  const content = answer !== undefined && 'content' in answer ? answer.content : undefined;
  const status = `${route.status}${route.otherStatus === undefined ? '' : ` or ${route.otherStatus}`}`;
  const own = routeErrors(route).filter((name) => !commonErrors.includes(name) && !callerErrors.includes(name));
  const facts = [
    `- Scope: ${whoMay(route.scope)}`,
    ...(requestBody === undefined ? [] : [`- Body: ${describeContent(requestBody.content)}`]),
    `- Answer: ${status}${content === undefined ? '' : `, ${describeContent(content)}`}${route.versioned === true && route.status !== 204 ? ', with an `ETag`' : ''}`,
    ...(own.length === 0 ? [] : [`- Errors: ${listCodes(own)}`]),
  ];
  return [...parts, facts.join('\n')].join('\n\n');
}

/** The whole page. */
export function makeApiPage(document: OpenApiDocument): string {
  const overview = table(
    ['route', '', 'scope'],
    routeList.map(({ method, path, operation, scope }) => [
      `[\`${method} ${path}\`](${routeAnchor(operation)})`,
      operation,
      whoMay(scope),
    ]),
  );
  const sections = routeTags.flatMap((tag) => {
    const described = routeList
      .filter((route) => route.tag === tag)
      .map((route) => {
        const operation = document.paths[route.path]?.[route.method.toLowerCase()];
        if (operation === undefined) throw new TypeError(`${route.operation} is not in the document`);
        return describeRoute(route, operation);
      });
    const words = document.tags.find(({ name }) => name === tag)?.description ?? '';
    return [`## ${tag[0]?.toUpperCase()}${tag.slice(1)}`, words, ...described];
  });
  const objects = Object.entries(document.components.schemas).map(([name, schema]) => describeObject(name, schema));
  return `${[intro.trimEnd(), '## Routes', overview, ...sections, '## Objects', ...objects].join('\n\n')}\n`;
}
