// A JSON schema of somebody else's as a parameter of ours. What maps is typed, and seen by policies; anything else is JSON, which is passed on as it is and
// which policies do not see.

import { limits } from '@bulkhead/protocol';
import type { Parameter } from '../authority/parameters.ts';
import { given } from '../lib/given.ts';
import { printable } from '../lib/printable.ts';

const textMaxLength = 262_144;
const valuesMaxCount = 100;
const valueMaxLength = 256;

export type Schema = Readonly<Record<string, unknown>>;

export function isSchema(value: unknown): value is Schema {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Of a property; without it, the name has to do for a description. */
export function toParameter(name: string, schema: unknown, isRequired: boolean): Parameter {
  const { description, ...kind } = typed(isSchema(schema) ? schema : {});
  const told = printable(typeof description === 'string' ? description : '', 2000);
  return { ...kind, description: told === '' ? name : told, ...(isRequired ? {} : { optional: true }) };
}

type Typed = Omit<Parameter, 'description'> & { readonly description?: unknown };

function typed(schema: Schema): Typed {
  const { description } = schema;
  const plain = withoutNull(schema);
  return { ...kindOf(plain), description: description ?? plain['description'] };
}

/** The half of a schema that allows null as well: an argument that is null is one that is left out. */
function withoutNull(schema: Schema): Schema {
  const { type, anyOf } = schema;
  if (Array.isArray(type)) {
    const others = type.filter((each) => each !== 'null');
    return others.length === 1 ? { ...schema, type: others[0] } : schema;
  }
  if (!Array.isArray(anyOf)) return schema;
  const others = anyOf.filter((each) => !isSchema(each) || each['type'] !== 'null');
  return others.length === 1 && isSchema(others[0]) ? others[0] : schema;
}

function kindOf(schema: Schema): Omit<Parameter, 'description'> {
  // What narrows a type beyond what we know is for the other end to check; what replaces it is not ours to read.
  if (['$ref', 'anyOf', 'oneOf', 'allOf', 'not', 'if'].some((word) => word in schema)) return { kind: 'json' };
  switch (schema['type']) {
    case 'string': {
      const values = valuesOf(schema);
      if (values === 'too many') return { kind: 'text', maxLength: textMaxLength };
      if (values !== undefined) return { kind: 'name', values };
      const maxLength = boundOf(schema['maxLength'], 1);
      return { kind: 'text', maxLength: Math.min(textMaxLength, maxLength ?? textMaxLength) };
    }
    case 'integer':
    case 'number':
      return {
        kind: schema['type'],
        ...given({ minimum: boundOf(schema['minimum']), maximum: boundOf(schema['maximum']) }),
      };
    case 'boolean':
      return { kind: 'boolean' };
    case 'array':
      return arrayKind(schema);
    default:
      return { kind: 'json' };
  }
}

/** `names` is a set of a few signs: what keeps an order, or any text, is no such thing. */
function arrayKind({ uniqueItems, items }: Schema): Omit<Parameter, 'description'> {
  if (uniqueItems !== true || !isSchema(items) || items['type'] !== 'string') return { kind: 'json' };
  const values = valuesOf(items);
  return values === undefined || values === 'too many' ? { kind: 'json' } : { kind: 'names', values };
}

function valuesOf(schema: Schema): readonly string[] | 'too many' | undefined {
  const listed: unknown = schema['enum'] ?? ('const' in schema ? [schema['const']] : undefined);
  if (!Array.isArray(listed)) return undefined;
  const values = listed.filter((value) => value !== null);
  const fits = values.length > 0 && values.length <= valuesMaxCount && values.every(isValue);
  return fits ? [...new Set(values)] : 'too many';
}

function isValue(value: unknown): value is string {
  return typeof value === 'string' && value.length > 0 && value.length <= valueMaxLength;
}

function boundOf(value: unknown, least = -Number.MAX_VALUE): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) && value >= least ? value : undefined;
}

/** The properties of an object, and whether each has to be there. Undefined where there are too many, or where it is no object. */
export function propertiesOf(
  schema: unknown,
): readonly { readonly name: string; readonly schema: unknown; readonly isRequired: boolean }[] | undefined {
  if (!isSchema(schema) || (schema['type'] !== undefined && schema['type'] !== 'object')) return undefined;
  const { properties = {}, required = [] } = schema;
  if (!isSchema(properties) || !Array.isArray(required)) return undefined;
  const names = Object.keys(properties);
  if (names.length > limits.toolParametersMaxCount) return undefined;
  if (required.some((name) => typeof name !== 'string' || !Object.hasOwn(properties, name))) return undefined;
  return names.map((name) => ({ name, schema: properties[name], isRequired: required.includes(name) }));
}
