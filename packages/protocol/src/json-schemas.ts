// JSON schemas of the contract's zod schemas. What has an `id` becomes a component that the others refer to.

import { z } from 'zod';

export type JsonSchema = Readonly<Record<string, unknown>>;
export type Side = 'input' | 'output';

const reference = '#/components/schemas/';
/** A moment without its calendar, which `format` says; the calendar as a pattern is nothing for people. */
const momentPattern = String.raw`^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?Z$`;

/** What zod says of a schema, made fit to publish. */
function polish(schema: z.core.JSONSchema.BaseSchema, side: Side): void {
  if (schema.format === 'date-time') schema.pattern = momentPattern;
  // An answer may have more in a later version, and a client that refuses that breaks with it.
  if (side === 'output' && schema.additionalProperties === false) delete schema.additionalProperties;
  if (schema.minimum === Number.MIN_SAFE_INTEGER) delete schema.minimum;
  if (schema.maximum === Number.MAX_SAFE_INTEGER && side === 'output') delete schema.maximum;
  if (isEmpty(schema.additionalProperties)) delete schema.additionalProperties;
  const { propertyNames } = schema;
  if (typeof propertyNames === 'object' && Object.keys(propertyNames).length === 1) delete schema.propertyNames;
}

const isEmpty = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && Object.keys(value).length === 0;

/** Gathers the components of a document while its schemas are made. */
export class SchemaComponents {
  readonly #components = new Map<string, { readonly text: string; readonly schema: JsonSchema }>();

  /** The schema to write where `schema` is meant: a reference, when it has an id. */
  describe(schema: z.ZodType, side: Side): JsonSchema {
    const {
      $schema: _,
      $defs,
      ...root
    } = z.toJSONSchema(schema, {
      io: side,
      target: 'draft-2020-12',
      override: ({ jsonSchema }) => polish(jsonSchema, side),
    });
    for (const [id, component] of Object.entries($defs ?? {})) this.#add(id, component);
    return relocate(root);
  }

  /** The members of an object that a caller gives, each with its schema, and which of them must be there. */
  members(schema: z.ZodObject): {
    readonly properties: Readonly<Record<string, JsonSchema>>;
    readonly required: readonly string[];
  } {
    const { properties = {}, required = [] } = this.describe(schema, 'input');
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what zod writes of an object
    return { properties, required } as ReturnType<SchemaComponents['members']>;
  }

  #add(id: string, component: unknown): void {
    const { id: _, ...schema } = relocate(component);
    const text = JSON.stringify(schema);
    const known = this.#components.get(id);
    // The one name would mean two things: what a caller may leave out, the server never does.
    if (known !== undefined && known.text !== text) throw new TypeError(`the schema ${id} differs between its uses`);
    this.#components.set(id, { text, schema });
  }

  toJSON(): Readonly<Record<string, JsonSchema>> {
    const sorted = [...this.#components].toSorted(([a], [b]) => (a < b ? -1 : 1));
    return Object.fromEntries(sorted.map(([id, { schema }]) => [id, schema]));
  }
}

/** The same schema with its references as they are in an OpenAPI document. */
function relocate(schema: unknown): JsonSchema {
  const text = JSON.stringify(schema, (key, value: unknown) =>
    key === '$ref' && typeof value === 'string' ? value.replace('#/$defs/', reference) : value,
  );
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- it has just been written from an object
  return JSON.parse(text) as JsonSchema;
}

/** The name of the component that a schema refers to. */
export function componentName(schema: JsonSchema): string | undefined {
  const target = schema['$ref'];
  return typeof target === 'string' && target.startsWith(reference) ? target.slice(reference.length) : undefined;
}
