// The API as an OpenAPI 3.1 document, made from the table of routes and from nothing else.
// An entry of its own (`@bulkhead/protocol/openapi`), so that only who asks for the document loads what makes it.

import { type ErrorCode, errorCatalogue, errorEntry } from './errors.ts';
import { type JsonSchema, SchemaComponents } from './json-schemas.ts';
import { limits } from './limits.ts';
import { type RouteSpec, type RouteTag, routeErrors, routeTags, takesIfMatch } from './route.ts';
import { type Operation, routeList } from './routes.ts';
import { problemSchema } from './schemas/common.ts';
import { scopes } from './scopes.ts';

export type { JsonSchema } from './json-schemas.ts';
export { componentName } from './json-schemas.ts';

export interface OpenApiDocument {
  readonly openapi: '3.1.1';
  readonly info: JsonSchema;
  readonly tags: readonly { readonly name: RouteTag; readonly description: string }[];
  readonly paths: Readonly<Record<string, Readonly<Record<string, OpenApiOperation>>>>;
  readonly components: JsonSchema & { readonly schemas: Readonly<Record<string, JsonSchema>> };
}

export interface OpenApiParameter {
  readonly name: string;
  readonly in: 'path' | 'query' | 'header';
  readonly required: boolean;
  readonly description?: string;
  readonly schema: JsonSchema;
}
type Content = Readonly<Record<string, { readonly schema: JsonSchema } & JsonSchema>>;
export interface OpenApiResponse {
  readonly description: string;
  readonly headers?: JsonSchema;
  readonly content?: Content;
}
interface Reference {
  readonly $ref: string;
}
export interface OpenApiOperation {
  readonly operationId: Operation;
  readonly summary: string;
  readonly tags: readonly RouteTag[];
  readonly security: readonly JsonSchema[];
  readonly parameters?: readonly OpenApiParameter[];
  readonly requestBody?: { readonly required: boolean; readonly content: Content };
  readonly responses: Readonly<Record<string, OpenApiResponse | Reference>>;
}

const problemType = 'application/problem+json';
const eventsType = 'text/event-stream';

const tagDescriptions: Readonly<Record<RouteTag, string>> = {
  system: 'The server itself: whether it works, what it has, who is asking.',
  tenants: 'Tenants, their quotas, and the API keys of their callers.',
  authority: 'What the code of sessions may reach: tools, secrets, policies, and what was decided.',
  approvals: 'Calls of tools that wait for a person, who sees the exact arguments and answers once.',
  sessions: 'Sessions: created, forked, put to sleep, woken, ended.',
  turns: 'Code that is run in a session, what it tells, and the interpreters that keep its variables.',
  files: 'Files in the machine of a session.',
  commands: 'Programs in the machine of a session, to their end or in the background.',
  terminals: 'Terminals, as WebSockets.',
  ports: 'HTTP servers in a session that are reachable through this server.',
};

const about = `Sessions that run code nobody has reviewed, each in a machine of its own.

Every request but those of \`/healthz\`, \`/readyz\` and this document has \`Authorization: Bearer\` with an API key or a token of the configured issuer.
A request that fails is answered with a problem (RFC 9457) whose \`code\` never changes its meaning; what is another tenant's does not exist.
Answers may get new members in later versions; requests with members that are not known are refused.`;

const headers = {
  ETag: { description: 'The version of the resource, for `If-Match`.', schema: { type: 'string' } },
  RetryAfter: {
    description: 'Seconds after which the same request may succeed.',
    schema: { type: 'integer', minimum: 0 },
  },
  RequestId: { description: 'Names the request in the server’s log.', schema: { type: 'string' } },
} as const;
const headerReference = (name: keyof typeof headers): JsonSchema => ({ $ref: `#/components/headers/${name}` });

const idempotencyKey: OpenApiParameter = {
  name: 'Idempotency-Key',
  in: 'header',
  required: false,
  description: `Made anew for each new request. Sent again with the same request, it is answered as the first time and does nothing twice; kept for ${limits.idempotencyKeptMs / 3_600_000} hours.`,
  schema: { type: 'string', minLength: 1, maxLength: limits.idempotencyKeyMaxLength, pattern: '^[\\x21-\\x7e]+$' },
};
const ifMatch: OpenApiParameter = {
  name: 'If-Match',
  in: 'header',
  required: false,
  description: 'The `ETag` of the version that is meant; another one is refused with `precondition_failed`.',
  schema: { type: 'string', pattern: '^"[0-9]{1,15}"$' },
};
const lastEventId: OpenApiParameter = {
  name: 'Last-Event-ID',
  in: 'header',
  required: false,
  description: 'The `id` of the last event that was read: the stream goes on after it, across servers and restarts.',
  schema: { type: 'string', pattern: '^[0-9]{0,15}$' },
};

/** What else a request may have, beside what its schemas say. */
function headerParameters(route: RouteSpec): readonly OpenApiParameter[] {
  return [
    ...(route.creates === true ? [idempotencyKey] : []),
    ...(takesIfMatch(route) ? [ifMatch] : []),
    ...(route.events !== undefined && route.method === 'GET' ? [lastEventId] : []),
  ];
}

/** One parameter for each member of an object's schema. */
function parametersOf(
  schema: RouteSpec['params'],
  place: 'path' | 'query',
  components: SchemaComponents,
): readonly OpenApiParameter[] {
  if (schema === undefined) return [];
  const { properties, required } = components.members(schema);
  return Object.entries(properties).map(([name, { description, ...rest }]) => ({
    name,
    in: place,
    required: place === 'path' || required.includes(name),
    ...(typeof description === 'string' ? { description } : {}),
    schema: rest,
  }));
}

const bytes: JsonSchema = { type: 'string', format: 'binary' };

function bodyOf(route: RouteSpec, components: SchemaComponents): OpenApiOperation['requestBody'] {
  const { body } = route;
  if (body === undefined) return undefined;
  // No bytes are an empty file.
  if (body === 'bytes') return { required: false, content: { 'application/octet-stream': { schema: bytes } } };
  return { required: true, content: { 'application/json': { schema: components.describe(body, 'input') } } };
}

/** What a request that succeeds is answered with. */
function answerOf(route: RouteSpec, components: SchemaComponents): OpenApiResponse {
  const { answer, events } = route;
  if (answer === 'websocket') return { description: 'The connection is a WebSocket from here on.' };
  const content: Record<string, Content[string]> = {};
  if (answer === 'bytes') content['application/octet-stream'] = { schema: bytes };
  else if (answer !== undefined) content['application/json'] = { schema: components.describe(answer, 'output') };
  if (events !== undefined) {
    // OpenAPI 3.1 has no word for the items of a stream; the extension says what each `data` is.
    content[eventsType] = { schema: { type: 'string' }, 'x-event-data': components.describe(events, 'output') };
  }
  return {
    description: Object.keys(content).length === 0 ? 'Done; there is nothing to say.' : 'Done.',
    headers: {
      'X-Request-Id': headerReference('RequestId'),
      ...(route.versioned === true && route.status !== 204 ? { ETag: headerReference('ETag') } : {}),
    },
    ...(Object.keys(content).length === 0 ? {} : { content }),
  };
}

/** The problem of a status, with the codes that it may have here. */
function problemOf(codes: readonly ErrorCode[], problem: JsonSchema): OpenApiResponse {
  const retry = codes.some((code) => errorEntry(code).retry === 'after');
  return {
    description: codes.map((code) => `\`${code}\`: ${errorCatalogue[code].title}.`).join(' '),
    headers: {
      'X-Request-Id': headerReference('RequestId'),
      ...(retry ? { 'Retry-After': headerReference('RetryAfter') } : {}),
    },
    content: {
      [problemType]: { schema: { allOf: [problem, { properties: { code: { enum: codes } } }] } },
    },
  };
}

/** The codes of a route by their status. */
export function errorsByStatus(route: RouteSpec): ReadonlyMap<number, readonly ErrorCode[]> {
  const found = Map.groupBy(routeErrors(route), (code) => errorEntry(code).status);
  return new Map([...found].toSorted(([a], [b]) => a - b));
}

/** The parts that operations share. */
class Components {
  readonly schemas = new SchemaComponents();
  readonly responses: Record<string, OpenApiResponse> = {};

  /** Problems are many and alike: each set of codes is written once, under the names of its codes. */
  problem(codes: readonly ErrorCode[]): Reference {
    const name = codes.join('.');
    this.responses[name] ??= problemOf(codes, this.schemas.describe(problemSchema, 'output'));
    return { $ref: `#/components/responses/${name}` };
  }
}

function responsesOf(route: RouteSpec, components: Components): OpenApiOperation['responses'] {
  const answer = answerOf(route, components.schemas);
  const responses: Record<string, OpenApiResponse | Reference> = { [route.status]: answer };
  for (const [status, codes] of errorsByStatus(route)) {
    if (status !== route.otherStatus) responses[status] = components.problem(codes);
    else responses[status] = problemOrAnswer(codes, answer, components);
  }
  return responses;
}

/** A status that comes with the answer of the route or with a problem; its `Content-Type` tells which. */
function problemOrAnswer(
  codes: readonly ErrorCode[],
  answer: OpenApiResponse,
  components: Components,
): OpenApiResponse {
  const problem = problemOf(codes, components.schemas.describe(problemSchema, 'output'));
  const description = `The answer is no. ${problem.description}`;
  return { ...problem, description, content: { ...answer.content, ...problem.content } };
}

function operationOf(route: (typeof routeList)[number], components: Components): OpenApiOperation {
  const parameters = [
    ...parametersOf(route.params, 'path', components.schemas),
    ...parametersOf(route.query, 'query', components.schemas),
    ...headerParameters(route),
  ];
  const requestBody = bodyOf(route, components.schemas);
  const { scope } = route;
  return {
    operationId: route.operation,
    summary: route.summary,
    tags: [route.tag],
    security: scope === 'public' ? [] : [{ bearer: scope === 'caller' ? [] : [scope] }],
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(requestBody === undefined ? {} : { requestBody }),
    responses: responsesOf(route, components),
  };
}

/** The document, for the version of the software that serves it. */
export function makeOpenApiDocument(version: string): OpenApiDocument {
  const components = new Components();
  const paths: Record<string, Record<string, OpenApiOperation>> = {};
  for (const route of routeList) {
    paths[route.path] = { ...paths[route.path], [route.method.toLowerCase()]: operationOf(route, components) };
  }
  return {
    openapi: '3.1.1',
    info: {
      title: 'Bulkhead',
      version,
      description: about,
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    tags: routeTags.map((name) => ({ name, description: tagDescriptions[name] })),
    paths,
    components: {
      schemas: components.schemas.toJSON(),
      responses: components.responses,
      headers,
      securitySchemes: {
        bearer: {
          type: 'http',
          scheme: 'bearer',
          description: `An API key, or a token (JWT) of the configured issuer. What a route needs is one of the scopes ${scopes.map((scope) => `\`${scope}\``).join(', ')}.`,
        },
      },
    },
  };
}
