import assert from 'node:assert/strict';
import { test } from 'node:test';
import { listCheckoutFiles, readCheckoutFile } from './checkout.ts';
import { findImports, judgeImport } from './import-rules.ts';

const sources = listCheckoutFiles().filter((path) => /\.(?:ts|tsx|mts)$/.test(path));

test('imports go one way', () => {
  const wrong = sources.flatMap((path) =>
    findImports(readCheckoutFile(path)).flatMap(({ specifier, line }) => {
      const problem = judgeImport(path, specifier);
      return problem === undefined ? [] : [`${path}:${line}: ${specifier}: ${problem}`];
    }),
  );
  assert.deepEqual(wrong, []);
});

test('only config reads the environment', () => {
  const readers = sources.filter(
    (path) =>
      /^packages\/[^/]+\/src\//.test(path) &&
      !path.startsWith('packages/server/src/config/') &&
      /\bprocess\s*\.\s*env\b|\bprocess\s*\[|\benv\b[^;]*\bfrom 'node:process'/.test(readCheckoutFile(path)),
  );
  assert.deepEqual(readers, []);
});

test('nothing has a default export', () => {
  const found = sources.filter((path) => /^export default\b|\bas default\b/m.test(readCheckoutFile(path)));
  assert.deepEqual(
    found.filter((path) => !path.endsWith('structure/imports.test.ts')),
    [],
  );
});

test('nothing but a runtime asks which runtime it is', () => {
  // What differs is a capability.
  const asks = /\bruntime *[!=]==(?! undefined)|(?:[!=]==|case) '(?:qemu|gvisor|fake)'/;
  const allowed = ['packages/server/src/runtimes/', 'packages/server/src/config/', 'packages/server/test/'];
  const found = sources
    .filter((path) => path.startsWith('packages/') && !allowed.some((place) => path.startsWith(place)))
    .filter((path) => asks.test(readCheckoutFile(path)));
  assert.deepEqual(found, []);
  assert.ok(asks.test("if (runtime === 'qemu')"), 'the control');
});

test('the rules refuse what they must, and see every form of import', () => {
  const session = 'packages/server/src/sessions/session.ts';
  const qemu = 'packages/server/src/runtimes/qemu/qemu-runtime.ts';
  const refused: readonly (readonly [string, string])[] = [
    [session, '../runtimes/qemu/qemu-runtime.ts'],
    [session, '../config/config.ts'],
    [session, '../api/rest/routes.ts'],
    [session, '../index.ts'],
    [session, '@bulkhead/cli'],
    [session, '@bulkhead/protocol/src/ids.ts'],
    [session, '../../../protocol/src/index.ts'],
    [qemu, '../fake/fake-runtime.ts'],
    [qemu, '../../sessions/session.ts'],
    ['packages/server/src/lib/clock.ts', '../guest/guest.ts'],
    ['packages/protocol/src/ids.ts', '@bulkhead/server'],
  ];
  for (const [path, specifier] of refused) assert.notEqual(judgeImport(path, specifier), undefined, specifier);
  const allowed: readonly (readonly [string, string])[] = [
    [session, '../runtimes/runtime.ts'],
    [session, './turn.ts'],
    [session, '../lib/clock.ts'],
    [session, 'node:fs'],
    [session, '@bulkhead/protocol'],
    [session, '@bulkhead/protocol/openapi'],
    [qemu, '../runtime.ts'],
    [qemu, './jail/jail.ts'],
    ['packages/server/src/index.ts', './runtimes/qemu/qemu-runtime.ts'],
    ['packages/cli/src/main.ts', '@bulkhead/server'],
    ['packages/server/test/sessions/session.test.ts', '../../src/runtimes/fake/fake-runtime.ts'],
  ];
  for (const [path, specifier] of allowed) assert.equal(judgeImport(path, specifier), undefined, specifier);

  const source = [
    "import './a.ts';",
    'import {',
    '  b,',
    "} from './b.ts';",
    "export * from './c.ts';",
    "await import('./d.ts');",
  ];
  assert.deepEqual(
    findImports(source.join('\n')).map(({ specifier, line }) => [specifier, line]),
    [
      ['./a.ts', 1],
      ['./b.ts', 4],
      ['./c.ts', 5],
      ['./d.ts', 6],
    ],
  );
});
