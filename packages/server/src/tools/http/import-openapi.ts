// Operations of an OpenAPI 3 document as the declared operations of an HTTP tool. The document is somebody else's: what it refers to outside of itself is not
// fetched, and an operation that is not certain to be written as the service reads it is refused, with the reason.

import { stat } from 'node:fs/promises';
import { $RefParser, type $Refs } from '@apidevtools/json-schema-ref-parser';
import { BulkheadError, type HttpSettings, httpSettings } from '@bulkhead/protocol';
import type { Parameter } from '../../authority/parameters.ts';
import { printable } from '../../lib/printable.ts';
import { nameAll, toIdentifier } from '../guest-names.ts';
import { type Schema, isSchema, propertiesOf, toParameter } from '../schema-parameter.ts';
import { checkHttpOperations } from './http-operations.ts';

export interface ImportRequest {
  /** Of a document in JSON or YAML. */
  readonly path: string;
  /** `operationId`s, or `GET /path`; all without it. */
  readonly operations?: readonly string[];
  /** In place of what the document says. */
  readonly origin?: string;
  /** The name of the secret that the service is called with. */
  readonly secret?: string;
}

export interface ImportedTool {
  readonly settings: HttpSettings;
  readonly refused: readonly { readonly operation: string; readonly reason: string }[];
}

const documentMaxBytes = 16_777_216;
const methods = ['get', 'post', 'put', 'patch', 'delete'] as const;
const referencesMaxCount = 20;

/** Why an operation cannot be taken. */
class Refusal extends Error {}

/** Errors: `invalid_request` for what is no such document, or has no operation that can be taken. */
export async function importOpenapi({ path, operations, origin, secret }: ImportRequest): Promise<ImportedTool> {
  const document = await readDocument(path);
  const found = document.operations();
  const unknown = operations?.find((wanted) => !found.some(({ names }) => names.includes(wanted)));
  if (unknown !== undefined) throw refuse(`The document has no operation ${JSON.stringify(unknown)}.`);
  const chosen =
    operations === undefined ? found : found.filter(({ names }) => names.some((name) => operations.includes(name)));
  const base = baseOf(document, origin);
  const credential = secret === undefined ? undefined : credentialOf(document, secret);
  const settings = {
    kind: 'http',
    description: printable(document.title, 200) || 'an HTTP service',
    origin: base.origin,
    ...(credential === undefined ? {} : { credential }),
  };
  const taken = new Map<string, unknown>();
  const refused: { operation: string; reason: string }[] = [];
  for (const operation of chosen) {
    try {
      const identifier =
        toIdentifier(operation.id) ?? fail(`${JSON.stringify(operation.id)} cannot be written as a name`);
      if (taken.has(identifier)) fail(`another operation is ${identifier} already`);
      const declared = declare(document, operation, base.path);
      checkHttpOperations(checkSettings({ ...settings, operations: { [identifier]: declared } }));
      taken.set(identifier, declared);
    } catch (error) {
      if (!(error instanceof Refusal) && !BulkheadError.is(error)) throw error;
      refused.push({ operation: printable(operation.id, 200), reason: error.message.replace(/\.$/, '') });
    }
  }
  if (taken.size === 0) throw refuse('None of the operations can be taken.', { refused });
  return { settings: checkSettings({ ...settings, operations: Object.fromEntries(taken) }), refused };
}

function checkSettings(settings: unknown): HttpSettings {
  const parsed = httpSettings.safeParse(settings);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const field = issue?.path.map(String).join('.') ?? '';
  throw refuse(`${field}: ${issue?.message ?? 'not valid'}.`, { field });
}

interface FoundOperation {
  readonly id: string;
  /** By each of which it can be chosen. */
  readonly names: readonly string[];
  readonly method: string;
  readonly path: string;
  readonly item: Schema;
  readonly operation: Schema;
}

class OpenapiDocument {
  readonly #root: Schema;
  readonly #refs: $Refs;

  constructor(root: Schema, refs: $Refs) {
    this.#root = root;
    this.#refs = refs;
  }

  get title(): string {
    const { info } = this.#root;
    return isSchema(info) && typeof info['title'] === 'string' ? info['title'] : '';
  }

  get root(): Schema {
    return this.#root;
  }

  operations(): readonly FoundOperation[] {
    const paths = this.follow(this.#root['paths']);
    return Object.entries(isSchema(paths) ? paths : {}).flatMap(([path, given]) => {
      const item = this.follow(given);
      if (!isSchema(item)) return [];
      return methods.flatMap((method): FoundOperation[] => {
        const operation = item[method];
        if (!isSchema(operation)) return [];
        const written = `${method.toUpperCase()} ${path}`;
        const id = typeof operation['operationId'] === 'string' ? operation['operationId'] : written;
        return [{ id, names: [...new Set([id, written])], method: method.toUpperCase(), path, item, operation }];
      });
    });
  }

  /** What is there, or what it refers to within the document. Errors: `Refusal`. */
  follow(node: unknown): unknown {
    let found = node;
    for (let followed = 0; isSchema(found) && typeof found['$ref'] === 'string'; followed += 1) {
      const reference = found['$ref'];
      if (!reference.startsWith('#')) fail(`it refers to another document: ${printable(reference, 100)}`);
      if (followed >= referencesMaxCount) fail(`a reference leads in a circle: ${printable(reference, 100)}`);
      try {
        found = this.#refs.get(reference);
      } catch {
        fail(`a reference leads nowhere: ${printable(reference, 100)}`);
      }
    }
    return found;
  }
}

/** Errors: `invalid_request`. */
async function readDocument(path: string): Promise<OpenapiDocument> {
  const parser = new $RefParser();
  let refs: $Refs;
  try {
    if ((await stat(path)).size > documentMaxBytes) throw new Error(`it has more than ${documentMaxBytes} bytes`);
    refs = await parser.resolve(path, { resolve: { external: false, http: false } });
  } catch (error) {
    const why = error instanceof Error ? printable(error.message, 200) : '';
    throw new BulkheadError('invalid_request', `The document cannot be read: ${why}`, { cause: error });
  }
  const root: unknown = parser.schema;
  if (isSchema(root) && typeof root['openapi'] === 'string' && root['openapi'].startsWith('3.')) {
    return new OpenapiDocument(root, refs);
  }
  throw refuse('The file is no OpenAPI 3 document.');
}

function baseOf(
  document: OpenapiDocument,
  origin: string | undefined,
): { readonly origin: string; readonly path: string } {
  const { servers } = document.root;
  const [first] = Array.isArray(servers) ? servers : [];
  const url = isSchema(first) && typeof first['url'] === 'string' ? first['url'] : '/';
  const hint = 'Say where it is with --origin https://api.example.net.';
  if (url.includes('{')) throw refuse('The address of the server has variables.', {}, hint);
  if (!URL.canParse(url, origin)) throw refuse('The document does not say where its server is.', {}, hint);
  const parsed = new URL(url, origin);
  return { origin: origin ?? parsed.origin, path: parsed.pathname.replace(/\/$/, '') };
}

/** How the secret is sent, by the first way that the document has. Errors: `invalid_request`. */
function credentialOf(document: OpenapiDocument, secret: string): unknown {
  const { components } = document.root;
  const schemes = isSchema(components) && isSchema(components['securitySchemes']) ? components['securitySchemes'] : {};
  for (const given of Object.values(schemes)) {
    const scheme = document.follow(given);
    if (!isSchema(scheme)) continue;
    const { type, name, in: place, scheme: http } = scheme;
    if (type === 'apiKey' && (place === 'header' || place === 'query')) return { in: place, name, secret };
    if (type === 'oauth2' || type === 'openIdConnect') return { in: 'bearer', secret };
    if (type === 'http' && String(http).toLowerCase() === 'bearer') return { in: 'bearer', secret };
  }
  throw refuse(
    'The document has no way to send a secret that is known here.',
    {},
    'Leave --secret out, and add `credential` by hand.',
  );
}

interface Declared {
  readonly name: string;
  readonly parameter: Parameter;
  readonly in: string;
  readonly as: string;
}

function declare(document: OpenapiDocument, found: FoundOperation, basePath: string): unknown {
  const { item, operation, method, path } = found;
  if ('servers' in operation || 'servers' in item) fail('it is on a server of its own');
  const listed = parametersOf(document, item, operation);
  const named = [...nameAll(listed, ({ name }) => name)];
  const body = bodyOf(document, operation['requestBody'], new Set(named.map(([name]) => name)));
  const all = [...named, ...nameAll(body, ({ name }) => name)];
  const identifiers = new Map(
    listed.filter((each) => each.in === 'path').map((each) => [each.as, toIdentifier(each.name)]),
  );
  const written = path.replaceAll(/\{([^{}]*)\}/g, (_, name: string) => {
    return `{${identifiers.get(name) ?? fail(`its path has a parameter ${JSON.stringify(name)} that is not declared`)}}`;
  });
  const told = [operation['summary'], operation['description']].find((each) => typeof each === 'string' && each !== '');
  return {
    description: printable(typeof told === 'string' ? told : found.id, 2000) || found.id,
    method,
    path: `${basePath}${written}`,
    parameters: Object.fromEntries(
      all.map(([name, { parameter, in: place, as }]) => [
        name,
        { ...parameter, in: place, ...(as === name || place === 'path' || place === 'body' ? {} : { as }) },
      ]),
    ),
  };
}

/** Those of the operation, and those of its path that it does not replace. */
function parametersOf(document: OpenapiDocument, item: Schema, operation: Schema): readonly Declared[] {
  const all = new Map<string, Schema>();
  for (const list of [item['parameters'], operation['parameters']]) {
    for (const given of Array.isArray(list) ? list : []) {
      const parameter = document.follow(given);
      if (!isSchema(parameter) || typeof parameter['name'] !== 'string') fail('a parameter has no name');
      all.set(`${String(parameter['in'])} ${parameter['name']}`, parameter);
    }
  }
  return [...all.values()].map((parameter) => declareParameter(document, parameter));
}

function declareParameter(document: OpenapiDocument, parameter: Schema): Declared {
  const { in: place, required, style, explode, allowReserved, description } = parameter;
  const name = String(parameter['name']);
  const what = `the parameter ${printable(name, 64)}`;
  if (place !== 'path' && place !== 'query' && place !== 'header')
    fail(`${what} is in a ${printable(String(place), 20)}`);
  const usual = place === 'query' ? 'form' : 'simple';
  if ((style !== undefined && style !== usual) || allowReserved === true)
    fail(`${what} is written in a way of its own`);
  if (!('schema' in parameter)) fail(`${what} has no schema`);
  const schema = document.follow(parameter['schema']);
  const known = toParameter(
    name,
    isSchema(schema) ? { description, ...schema } : {},
    required === true || place === 'path',
  );
  const isList = isSchema(schema) && schema['type'] === 'array';
  if (isList && place === 'query' && explode !== false) {
    const items = document.follow(schema['items']);
    const { kind, values } = toParameter(name, items, true);
    if (kind === 'text' || kind === 'name') {
      const listed = values === undefined ? {} : { values };
      return { name, as: name, in: place, parameter: { ...known, kind: 'names', ...listed } };
    }
  }
  // What may be any text is a name where other text could be read in another way.
  const { maxLength: _length, ...rest } = known;
  const fitted = known.kind === 'text' && place !== 'query' ? { ...rest, kind: 'name' as const } : known;
  if (fitted.kind === 'json') fail(`${what} is no text, number, truth or list of names`);
  return { name, as: name, in: place, parameter: fitted };
}

/** The members of an object that is a body; of any other body, the whole. */
function bodyOf(document: OpenapiDocument, given: unknown, taken: ReadonlySet<string>): readonly Declared[] {
  const body = document.follow(given);
  if (!isSchema(body)) return [];
  const { content, required } = body;
  const media = isSchema(content) ? content['application/json'] : undefined;
  if (!isSchema(media)) fail('its body is no JSON');
  const schema = document.follow(media['schema']);
  const isRequired = required === true;
  const properties = propertiesOf(schema) ?? [];
  const isPlain =
    isSchema(schema) && properties.length > 0 && !['allOf', 'anyOf', 'oneOf'].some((word) => word in schema);
  if (!isPlain) {
    const parameter = {
      ...toParameter('the body, as JSON', { description: body['description'] }, isRequired),
      kind: 'json' as const,
    };
    return [{ name: taken.has('body') ? 'whole_body' : 'body', as: 'body', in: 'body', parameter }];
  }
  return properties.flatMap(({ name, schema: property, isRequired: isNeeded }): Declared[] => {
    const followed = document.follow(property);
    if (isSchema(followed) && followed['readOnly'] === true) return [];
    const parameter = toParameter(name, followed, isRequired && isNeeded);
    const identifier = toIdentifier(name);
    const written = identifier !== undefined && taken.has(identifier) ? `body_${name}` : name;
    return [{ name: written, as: name, in: 'field', parameter }];
  });
}

function fail(reason: string): never {
  throw new Refusal(reason);
}

function refuse(message: string, details: Record<string, unknown> = {}, hint?: string): BulkheadError {
  return new BulkheadError('invalid_request', message, { details, ...(hint === undefined ? {} : { hint }) });
}
