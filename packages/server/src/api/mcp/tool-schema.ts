// A zod schema as JSON Schema the way clients of this protocol take it: draft 7, an object at its root, nothing by reference. Many of them hand it to a model's
// provider that knows neither `$ref` nor
// `definitions`, and only one type at a time.

import { z } from 'zod';

export interface ToolSchema {
  [key: string]: unknown;
  type: 'object';
}

const prefix = '#/definitions/';

export function inlineSchema(schema: z.ZodObject, io: 'input' | 'output'): ToolSchema {
  const { $schema: _dialect, definitions, ...root } = z.toJSONSchema(schema, { target: 'draft-7', io });
  const inlined = inline(root, toObject(definitions), []);
  return { ...toObject(inlined), type: 'object' };
}

/** No schema of ours contains itself; one that did would be a defect, which is told at once. */
function inline(node: unknown, definitions: Readonly<Record<string, unknown>>, within: readonly string[]): unknown {
  if (Array.isArray(node)) return node.map((each) => inline(each, definitions, within));
  if (typeof node !== 'object' || node === null) return node;
  const { $ref, allOf, type, ...rest } = toObject(node);
  const members = Object.entries(rest).filter(([, value]) => !isUnbounded(value));
  const own = {
    // A list of types is what some providers refuse; the same as alternatives they take.
    ...(Array.isArray(type)
      ? { anyOf: type.map((each: unknown) => ({ type: each })) }
      : type === undefined
        ? {}
        : { type: inline(type, definitions, within) }),
    ...Object.fromEntries(members.map(([key, value]) => [key, inline(value, definitions, within)])),
  };
  if (typeof $ref === 'string') {
    if (within.includes($ref)) throw new TypeError(`the schema ${$ref} contains itself`);
    return { ...toObject(inline(definitions[$ref.slice(prefix.length)], definitions, [...within, $ref])), ...own };
  }
  if (Array.isArray(allOf) && allOf.length === 1) return { ...toObject(inline(allOf[0], definitions, within)), ...own };
  return allOf === undefined ? own : { allOf: inline(allOf, definitions, within), ...own };
}

/** The range of exact integers bounds nothing that anybody would send, and takes room in every model's context. */
function isUnbounded(value: unknown): boolean {
  return value === Number.MAX_SAFE_INTEGER || value === Number.MIN_SAFE_INTEGER;
}

function toObject(node: unknown): Record<string, unknown> {
  return typeof node === 'object' && node !== null && !Array.isArray(node) ? { ...node } : {};
}
