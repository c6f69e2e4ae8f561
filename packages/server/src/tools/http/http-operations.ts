// What an HTTP tool is to policies and guests, and whether its operations can be written as requests that have one meaning. That is decided when the tool is
// set up, so that no argument can make it otherwise later.

import {
  BulkheadError,
  type ArgumentPlace,
  type HttpOperation,
  type HttpSettings,
  type ParameterKind,
} from '@bulkhead/protocol';
import { domainsOf } from '../../authority/domains.ts';
import { isName } from '../../authority/parameters.ts';
import type { OperationDescription, Resource, ToolDescription } from '../../authority/tool-description.ts';

export function describeHttpTool(name: string, { description, operations }: HttpSettings): ToolDescription {
  const described = Object.entries(operations).map(([operation, settings]): [string, OperationDescription] => [
    operation,
    { description: settings.description, parameters: parametersOf(settings), resource: 'Endpoint' },
  ]);
  return { name, description, operations: Object.fromEntries(described) };
}

/** Where an argument goes is nothing that a guest has to know. */
function parametersOf({ parameters }: HttpOperation): OperationDescription['parameters'] {
  return Object.fromEntries(
    Object.entries(parameters).map(([name, { in: _place, as: _name, ...parameter }]) => [name, parameter]),
  );
}

/** An endpoint is its method and its whole address, with the template for a path. It lies in its host with the port, where that is not the usual one, and without. */
function endpointOf(origin: URL, { method, path }: HttpOperation): Resource {
  const { host, hostname } = origin;
  const withPort = host === hostname ? [] : [{ type: 'Host', id: host } as const];
  return { type: 'Endpoint', id: `${method} ${origin.origin}${path}`, within: [...withPort, ...domainsOf(hostname)] };
}

/** Errors: `not_found` for an operation that is not there. */
export function resourceOfHttpCall({ origin, operations }: HttpSettings, operation: string): Resource {
  return endpointOf(new URL(origin), operationOf(operations, operation));
}

/** Errors: `not_found`. */
export function operationOf(operations: HttpSettings['operations'], name: string): HttpOperation {
  const operation = operations[name];
  if (operation === undefined) throw new BulkheadError('not_found', 'There is no such operation.');
  return operation;
}

/** What can be written in each place and be read there in one way only. */
const kindsOfPlaces: Readonly<Record<ArgumentPlace, readonly ParameterKind[]>> = {
  path: ['name', 'integer'],
  query: ['name', 'path', 'text', 'integer', 'number', 'boolean', 'names'],
  header: ['name', 'integer', 'number', 'boolean'],
  field: ['name', 'path', 'text', 'integer', 'number', 'boolean', 'names', 'json'],
  body: ['json', 'names'],
};

/** Headers that say where a message ends, for whom it is, or who sends it: they are the host's. */
const ownHeaders: ReadonlySet<string> = new Set(
  `accept-encoding authorization connection content-encoding content-length content-type cookie expect host http2-settings keep-alive
   proxy-authorization proxy-connection te trailer transfer-encoding upgrade`.split(/\s+/),
);
const tokenPattern = /^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$/;
const placeholderPattern = /\{([a-z0-9_]+)\}/g;

/** Errors: `invalid_request` that names the operation. */
export function checkHttpOperations({ operations, credential, headers = {} }: HttpSettings): void {
  const taken = new Set(ownHeaders);
  for (const name of Object.keys(headers)) takeHeader(taken, name, 'The header');
  if (credential?.in === 'header') takeHeader(taken, credential.name, 'The header of the credential');
  for (const [name, operation] of Object.entries(operations)) {
    const problem = findProblem(operation, taken, credential?.in === 'query' ? credential.name : undefined);
    if (problem === undefined) continue;
    throw new BulkheadError('invalid_request', `The operation ${name}: ${problem}.`, {
      details: { field: `operations.${name}` },
    });
  }
}

function takeHeader(taken: Set<string>, name: string, what: string): void {
  const lower = name.toLowerCase();
  if (taken.has(lower)) {
    throw new BulkheadError('invalid_request', `${what} ${name} is the host's own, or is there twice.`);
  }
  taken.add(lower);
}

function findProblem(
  { method, path, parameters }: HttpOperation,
  takenHeaders: ReadonlySet<string>,
  takenQuery: string | undefined,
): string | undefined {
  const segments = path.split('/').slice(1);
  const placeholders = segments.map((segment) => [...segment.matchAll(placeholderPattern)].map(([, name]) => name));
  if (segments.some((segment) => segment === '.' || segment === '..')) return 'a segment of its path leads elsewhere';
  if (segments.slice(0, -1).includes('')) return 'a segment of its path is empty';
  if (placeholders.some((names) => names.length > 1)) return 'a segment of its path has two parameters';
  const inPath = placeholders.flat();
  const declared = Object.entries(parameters);
  const ofPath = declared.filter(([, parameter]) => parameter.in === 'path').map(([name]) => name);
  if (inPath.length !== ofPath.length || !ofPath.every((name) => inPath.includes(name))) {
    return `its path has the parameters ${inPath.join(', ') || 'none'}, and declared for it are ${ofPath.join(', ') || 'none'}`;
  }
  const names = new Set([...takenHeaders].map((name) => `header ${name}`));
  if (takenQuery !== undefined) names.add(`query ${takenQuery}`);
  for (const [name, { in: place, as: wireName = name, kind, optional, values = [] }] of declared) {
    if (!kindsOfPlaces[place].includes(kind)) return `${name} cannot be ${kind} in the ${place}`;
    if (place === 'path' && optional === true) return `${name} is in the path, and optional`;
    if (place === 'header' && !tokenPattern.test(wireName)) return `${name} is no name of a header`;
    // Listed values are not held against the rules of names when they come in.
    if ((place === 'path' || place === 'header') && values.some((value) => !isName(value))) {
      return `${name} has a value that is no name`;
    }
    const key = place === 'body' ? 'body' : `${place} ${place === 'header' ? wireName.toLowerCase() : wireName}`;
    if (names.has(key)) return `${wireName} in the ${place} is there twice, or is the host's own`;
    names.add(key);
  }
  const hasFields = declared.some(([, parameter]) => parameter.in === 'field');
  if (hasFields && names.has('body')) return 'it has a body, and fields of one';
  return method === 'GET' && (hasFields || names.has('body')) ? 'a GET has no body' : undefined;
}
