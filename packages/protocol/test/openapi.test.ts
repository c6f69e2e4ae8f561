import assert from 'node:assert/strict';
import { test } from 'node:test';
import { errorCatalogue, routeErrors, routeList } from '@bulkhead/protocol';
import { type JsonSchema, makeOpenApiDocument } from '@bulkhead/protocol/openapi';

const document = makeOpenApiDocument('1.2.3');
const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
);

/** Every object in a document. */
function* objectsIn(value: unknown): Generator<JsonSchema> {
  if (typeof value !== 'object' || value === null) return;
  yield value as JsonSchema;
  for (const member of Object.values(value)) yield* objectsIn(member);
}

/** What a reference within the document leads to. */
function follow(reference: string): unknown {
  const names = reference.replace(/^#\//, '').split('/');
  return names.reduce<unknown>((place, name) => (place as Record<string, unknown> | undefined)?.[name], document);
}

test('the document has every route once, with its operation', () => {
  assert.deepEqual(
    operations.map(({ path, method, operation }) => `${method.toUpperCase()} ${path} ${operation.operationId}`).sort(),
    routeList.map(({ path, method, operation }) => `${method} ${path} ${operation}`).sort(),
  );
});

test('every reference leads somewhere, and every component is referred to', () => {
  const references = new Set<string>();
  for (const { $ref } of objectsIn(document)) if (typeof $ref === 'string') references.add($ref);
  for (const reference of references) assert.notEqual(follow(reference), undefined, reference);
  for (const kind of ['schemas', 'responses', 'headers']) {
    for (const name of Object.keys(document.components[kind] as object)) {
      assert.ok(references.has(`#/components/${kind}/${name}`), `${kind}/${name} is not used`);
    }
  }
});

test('a parameter of a path is declared, a query parameter is needed only where it has no default', () => {
  for (const { path, operation } of operations) {
    const declared = (operation.parameters ?? []).filter((parameter) => parameter.in === 'path');
    assert.deepEqual(
      declared.map(({ name }) => name),
      [...path.matchAll(/\{([a-z]+)\}/g)].map(([, name]) => name),
      path,
    );
    for (const parameter of operation.parameters ?? []) {
      if (parameter.in === 'query') assert.ok(!(parameter.required && 'default' in parameter.schema), path);
    }
  }
  const list = document.paths['/v1/sessions']?.['get']?.parameters ?? [];
  assert.equal(list.find(({ name }) => name === 'cursor')?.required, false);
  const read = document.paths['/v1/sessions/{session}/files/content']?.['get']?.parameters ?? [];
  assert.equal(read.find(({ name }) => name === 'path')?.required, true);
});

test('each operation declares the status of every code that its route can answer with', () => {
  for (const route of routeList) {
    const { responses } = operations.find(({ operation }) => operation.operationId === route.operation)!.operation;
    const statuses = [route.status, ...routeErrors(route).map((code) => errorCatalogue[code].status)];
    assert.deepEqual(new Set(Object.keys(responses).map(Number)), new Set(statuses), route.operation);
  }
});

test('creating takes an idempotency key, versions take If-Match, streams take Last-Event-ID', () => {
  const takes = (operation: string): readonly string[] =>
    (operations.find((found) => found.operation.operationId === operation)?.operation.parameters ?? [])
      .filter((parameter) => parameter.in === 'header')
      .map(({ name }) => name);
  assert.deepEqual(takes('createSession'), ['Idempotency-Key']);
  assert.deepEqual(takes('updateSession'), ['If-Match']);
  assert.deepEqual(takes('listTurnEvents'), ['Last-Event-ID']);
  assert.deepEqual(takes('getSession'), []);
});

test('only public routes can be called by anybody; the others name their scope', () => {
  for (const route of routeList) {
    const { security } = operations.find(({ operation }) => operation.operationId === route.operation)!.operation;
    const expected = route.scope === 'public' ? [] : [{ bearer: route.scope === 'caller' ? [] : [route.scope] }];
    assert.deepEqual(security, expected);
  }
});

test('what a refinement holds is in the schema too', () => {
  const { schemas } = document.components;
  assert.equal(schemas['Labels']?.['maxProperties'], 32);
  const properties = schemas['MoveFile']?.['properties'] as Record<string, JsonSchema>;
  assert.equal(new RegExp(String(properties['from']?.['pattern'])).test('a\0b'), false);
});
