// From arguments that were decided on to the bytes of a request. Whatever an argument says stays where it was put: everything but letters, digits and
// `-._~` is percent-encoded, so that none of it can end a segment, a parameter or a line.

import { BulkheadError, type HttpOperation } from '@bulkhead/protocol';
import { type Arguments, type ArgumentValue, isList } from '../../authority/arguments.ts';

export interface WrittenRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | undefined;
}

/** Errors: `invalid_request` for a segment that would lead elsewhere. */
export function writeRequest({ method, path, parameters }: HttpOperation, { value }: Arguments): WrittenRequest {
  const query: string[] = [];
  const headers: Record<string, string> = {};
  const fields: Record<string, ArgumentValue> = Object.create(null);
  let body: ArgumentValue | undefined;
  for (const [name, { in: place, as: wireName = name }] of Object.entries(parameters)) {
    const argument = Object.hasOwn(value, name) ? value[name] : undefined;
    if (argument === undefined) continue;
    if (place === 'query') query.push(...writeQuery(wireName, argument));
    else if (place === 'header') headers[wireName.toLowerCase()] = writeText(argument);
    else if (place === 'field') fields[wireName] = argument;
    else if (place === 'body') body = argument;
  }
  if (Object.keys(fields).length > 0) body = fields;
  const filled = path.replaceAll(/\{([a-z0-9_]+)\}/g, (_, name: string) => encode(writeText(value[name])));
  // The kinds of arguments that a path takes have no such thing: this is for the day that one of them is changed.
  if (filled.split('/').some((segment) => segment === '.' || segment === '..')) {
    throw new BulkheadError('invalid_request', 'The arguments would lead to another path.');
  }
  return {
    method,
    path: query.length === 0 ? filled : `${filled}?${query.join('&')}`,
    headers: body === undefined ? headers : { ...headers, 'content-type': 'application/json' },
    body: body === undefined ? undefined : JSON.stringify(body),
  };
}

function writeQuery(name: string, argument: ArgumentValue): readonly string[] {
  const members = isList(argument) ? argument : [argument];
  return members.map((member) => `${encode(name)}=${encode(writeText(member))}`);
}

function writeText(argument: ArgumentValue | undefined): string {
  if (typeof argument === 'string') return argument;
  if (typeof argument === 'number' || typeof argument === 'boolean') return String(argument);
  throw new TypeError('An argument that was checked is no text.');
}

/** All but the unreserved characters of RFC 3986. */
export function encode(text: string): string {
  return encodeURIComponent(text).replaceAll(/[!'()*]/g, (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`);
}
