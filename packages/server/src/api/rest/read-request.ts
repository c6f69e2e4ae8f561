// From what a client sends to the exact types of the route table. Every value in a path or a query is text: it becomes a number or a boolean only
// in the one form in which that type is written, and a field that is unknown or given twice is refused.

import { BulkheadError } from '@bulkhead/protocol';
import { z } from 'zod';
import { printable } from '../../lib/printable.ts';

const fieldsMaxCount = 64;
const problemsMaxCount = 16;
const wholeNumber = /^-?(?:0|[1-9]\d{0,15})$/;

type FieldKind = 'text' | 'number' | 'boolean';

/** What reads the query of a route. */
export function queryReader(schema: z.ZodObject | undefined): (url: string) => unknown {
  const kinds = new Map<string, FieldKind>(
    Object.entries(schema?.shape ?? {}).map(([name, field]) => [name, kindOf(field)]),
  );
  return (url) => {
    const values: Record<string, unknown> = {};
    for (const [name, text] of readFields(url)) {
      const kind = kinds.get(name);
      if (kind === undefined) throw badQuery(name, 'this route has no such parameter');
      if (Object.hasOwn(values, name)) throw badQuery(name, 'it is given more than once');
      values[name] = convert(name, text, kind);
    }
    return schema === undefined ? undefined : checkValue(schema, values, 'query');
  };
}

/** Errors: `invalid_request` with every problem. */
export function checkValue<Schema extends z.ZodType>(schema: Schema, value: unknown, where: string): z.output<Schema> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.slice(0, problemsMaxCount).map((issue) => {
    const path = [where, ...issue.path.map((part) => printable(String(part), 60))].join('.');
    return `${path}: ${printable(issue.message, 200)}`;
  });
  throw new BulkheadError('invalid_request', `The request is not valid: ${problems.join('; ')}.`, {
    details: { problems },
  });
}

/** The version that `If-Match` names. Errors: `invalid_request`, `precondition_failed` for what no version is written like. */
export function readIfMatch(header: string | undefined): number | undefined {
  if (header === undefined || header.trim() === '*') return undefined;
  const version = /^"(\d{1,15})"$/.exec(header.trim())?.[1];
  if (version !== undefined) return Number(version);
  throw new BulkheadError('precondition_failed', '`If-Match` is no ETag of this resource.', {
    hint: 'Give the ETag as it was answered, with its quotes.',
  });
}

/** Errors: `invalid_request`. */
export function readLastEventId(header: string | undefined): number | undefined {
  if (header === undefined || header === '') return undefined;
  if (/^\d{1,15}$/.test(header)) return Number(header);
  throw new BulkheadError('invalid_request', '`Last-Event-ID` is the id of an event: a number.');
}

/** Whether `Accept` prefers a stream of events to JSON. */
export function prefersEvents(accept: string | undefined): boolean {
  if (accept === undefined) return false;
  const types = accept.split(',').map((part) => part.split(';')[0]?.trim().toLowerCase());
  const [events, json] = [types.indexOf('text/event-stream'), types.indexOf('application/json')];
  return events !== -1 && (json === -1 || events < json);
}

/** Errors: `invalid_request`. */
export function readIdempotencyKey(
  header: string | readonly string[] | undefined,
  maxLength: number,
): string | undefined {
  if (header === undefined) return undefined;
  if (typeof header === 'string' && header.length <= maxLength && /^[\x21-\x7e]+$/.test(header)) return header;
  throw new BulkheadError(
    'invalid_request',
    `An idempotency key is 1 to ${maxLength} printable ASCII characters without spaces.`,
    { hint: 'A random UUID is a good one.' },
  );
}

function readFields(url: string): readonly (readonly [string, string])[] {
  const start = url.indexOf('?');
  const query = start === -1 ? '' : url.slice(start + 1);
  const parts = query.split('&').filter((part) => part !== '');
  if (parts.length > fieldsMaxCount) {
    throw new BulkheadError('invalid_request', `A query has at most ${fieldsMaxCount} fields.`);
  }
  return parts.map((part) => {
    const equals = part.indexOf('=');
    const [name, value] = equals === -1 ? [part, ''] : [part.slice(0, equals), part.slice(equals + 1)];
    return [decode(name), decode(value)];
  });
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    throw new BulkheadError('invalid_request', 'The query is not percent-encoded UTF-8.');
  }
}

function convert(name: string, text: string, kind: FieldKind): unknown {
  if (kind === 'text') return text;
  if (kind === 'boolean') {
    if (text === 'true' || text === 'false') return text === 'true';
    throw badQuery(name, 'expected true or false');
  }
  if (wholeNumber.test(text)) return Number(text);
  throw badQuery(name, 'expected a whole number, in decimal digits');
}

function badQuery(name: string, problem: string): BulkheadError {
  const field = printable(name, 60);
  const told = `query.${field}: ${problem}`;
  return new BulkheadError('invalid_request', `The request is not valid: ${told}.`, { details: { problems: [told] } });
}

/** What a field is written as, whatever it is wrapped in. */
function kindOf(schema: z.core.$ZodType): FieldKind {
  const { def } = schema._zod;
  if (def.type === 'number' || def.type === 'int') return 'number';
  if (def.type === 'boolean') return 'boolean';
  if ('innerType' in def) {
    const { innerType } = def;
    if (innerType instanceof z.core.$ZodType) return kindOf(innerType);
  }
  return 'text';
}
