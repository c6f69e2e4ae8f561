import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BulkheadError } from '@bulkhead/protocol';
import * as fc from 'fast-check';
import { parseArguments } from '../../src/authority/arguments.ts';
import { authorityLimits } from '../../src/authority/authority-limits.ts';
import { type Parameters, checkArguments, isPath } from '../../src/authority/parameters.ts';

const seed = Number(process.env['BULKHEAD_TEST_SEED'] ?? 20_261_125);
const bytes = (text: string): Buffer => Buffer.from(text);
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

test('arguments are what JSON.parse makes of them, and have one canonical form', () => {
  const object = fc.dictionary(
    fc.string({ unit: 'grapheme' }).filter((name) => name.normalize('NFC') === name && name !== '__proto__'),
    fc.jsonValue({ maxDepth: 5, noUnicodeString: false }),
    { maxKeys: 20 },
  );
  fc.assert(
    fc.property(object, fc.boolean(), (value, pretty) => {
      const text = JSON.stringify(value, undefined, pretty ? 2 : undefined);
      let parsed;
      try {
        parsed = parseArguments(bytes(text));
      } catch (error) {
        // Only for what it says that it refuses.
        assert.ok(BulkheadError.is(error, 'invalid_request'), String(error));
        assert.match(error.message, /cannot be kept|composed form|lone surrogate/);
        return;
      }
      assert.deepEqual(plain(parsed.value), JSON.parse(text));
      const again = parseArguments(bytes(parsed.canonical));
      assert.equal(again.canonical, parsed.canonical);
      assert.equal(again.digest, parsed.digest);
      const shuffled = Object.fromEntries(Object.entries(value).toReversed());
      assert.equal(parseArguments(bytes(JSON.stringify(shuffled))).canonical, parsed.canonical);
    }),
    { seed, numRuns: 2000 },
  );
});

test('what two readers could take for different things is refused', () => {
  const refused: readonly (string | Buffer)[] = [
    '{"a":1,"a":2}',
    '{"a":1,"\\u0061":2}',
    '{"x":{"key":"mine","key":"theirs"}}',
    '{"e\u0301":1}',
    '{"a":1}{"a":2}',
    '{"a":1} x',
    '{"a":9007199254740993}',
    '{"a":1e400}',
    '{"a":-0}',
    '{"a":01}',
    '{"a":+1}',
    '{"a":.5}',
    '{"a":NaN}',
    '{"a":0x10}',
    "{'a':1}",
    '{a:1}',
    '{"a":1,}',
    '{"a":"\\ud800"}',
    '{"a":"\u0000"}',
    '{"a":"\\x41"}',
    '\ufeff{"a":1}',
    '{"a":1/*c*/}',
    '[1]',
    '"a"',
    'null',
    '',
    Buffer.from('{"a":"\xff"}', 'latin1'),
    Buffer.from([0xff, 0xfe, 0x7b, 0x00, 0x7d, 0x00]),
  ];
  for (const text of refused) {
    assert.throws(
      () => parseArguments(typeof text === 'string' ? bytes(text) : text),
      (error) => BulkheadError.is(error, 'invalid_request'),
      String(text),
    );
  }
  assert.equal(parseArguments(bytes('{"b":1.0,"a":1e2,"c":1e-07}')).canonical, '{"a":100,"b":1,"c":1e-7}');
});

test('arguments are bounded in bytes, depth and number, and have no prototype to pollute', () => {
  const beyond = [
    `{"a":${'['.repeat(authorityLimits.argumentsMaxDepth + 1)}${']'.repeat(authorityLimits.argumentsMaxDepth + 1)}}`,
    `{"a":[${'0,'.repeat(authorityLimits.argumentsMaxValues)}0]}`,
    `{"a":"${'x'.repeat(authorityLimits.argumentsMaxBytes)}"}`,
  ];
  for (const text of beyond) {
    assert.throws(
      () => parseArguments(bytes(text)),
      (error) => BulkheadError.is(error, 'limit_exceeded'),
    );
  }
  const { value } = parseArguments(bytes('{"__proto__":{"polluted":true},"constructor":1}'));
  assert.equal(Object.getPrototypeOf(value), null);
  assert.deepEqual(Object.keys(value), ['__proto__', 'constructor']);
  assert.equal(Reflect.get({}, 'polluted'), undefined);
});

const parameters: Parameters = {
  key: { kind: 'path', description: 'which object' },
  format: { kind: 'name', description: 'how', values: ['csv', 'json'], optional: true },
  desk: { kind: 'name', description: 'whose', optional: true },
  rows: { kind: 'integer', description: 'how many', minimum: 1, maximum: 1000, optional: true },
  tags: { kind: 'names', description: 'which', optional: true },
  note: { kind: 'text', description: 'any', optional: true, maxLength: 10 },
};
const check = (value: unknown): string =>
  checkArguments(parameters, parseArguments(bytes(JSON.stringify(value)))).canonical;

test('paths in names, ways up, escapes and look-alikes are refused', () => {
  const paths = [
    '../b/x',
    'a/../../b',
    'a//b',
    '/a',
    'a/',
    'a/./b',
    'a%2fb',
    'a%2e%2e/b',
    'a\\..\\b',
    'a\u0000b',
    'a\nb',
    '..',
    '.',
    '',
    ' a',
    'a /b',
    'e\u0301',
    'a\u202eb',
    'a\u200bb',
    '\uff0e\uff0e/b',
    'a/\u2024\u2024/b',
    'x'.repeat(1025),
  ];
  for (const key of paths) assert.throws(() => check({ key }), { code: 'invalid_request' }, JSON.stringify(key));
  for (const key of ['a', 'a/b-1/c_2.csv', 'prices/2026-11/é.csv', 'a b/c (1).txt']) assert.ok(isPath(key), key);
  for (const desk of ['a/b', 'a..b', '../a', 'a%2fb', '\u0430dmin', 'a\tb', ' a', '', 'a\u200d']) {
    assert.throws(() => check({ key: 'k', desk }), { code: 'invalid_request' }, JSON.stringify(desk));
  }
  for (const wrong of [
    { key: 1 },
    { key: ['a'] },
    {},
    { key: 'k', rows: 1.5 },
    { key: 'k', rows: '5' },
    { key: 'k', rows: 0 },
    { key: 'k', more: 1 },
    { key: 'k', format: 'xml' },
    { key: 'k', note: '12345678901' },
    { key: 'k', tags: ['ok', 'a/b'] },
    { key: 'k', tags: 'ok' },
  ]) {
    assert.throws(() => check(wrong), { code: 'invalid_request' }, JSON.stringify(wrong));
  }
  assert.equal(check({ tags: ['b', 'a', 'b'], key: 'k' }), '{"key":"k","tags":["a","b"]}');
});

test('whatever is sent, what is accepted is what its parameters say, byte for byte: 2,000 by seed', () => {
  const tricky = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.constantFrom('..', '%2e%2e', '../', 'a/../b', 'tenant-b/x', '\u2215', '\uff0f', 'ten\u0430nt-a', 'a\u0000'),
    fc.string({ unit: fc.constantFrom('.', '/', '%', '2', 'f', 'a', '\\', '\u202e', '\u0301', ' ') }),
  );
  let accepted = 0;
  fc.assert(
    fc.property(tricky, tricky, fc.boolean(), (key, desk, repeat) => {
      const members = [`"key":${JSON.stringify(key)}`, `"desk":${JSON.stringify(desk)}`];
      if (repeat) members.push(`"k\\u0065y":"tenant-b/secret"`);
      let canonical;
      try {
        const checked = checkArguments(parameters, parseArguments(bytes(`{${members.join(',')}}`)));
        ({ canonical } = checked);
      } catch (error) {
        assert.ok(BulkheadError.is(error), String(error));
        return;
      }
      accepted += 1;
      assert.equal(repeat, false);
      assert.deepEqual(JSON.parse(canonical), { key, desk });
      assert.ok(
        key.split('/').every((segment) => segment !== '' && !/^\.|[%\\\p{C}]/u.test(segment)),
        key,
      );
      assert.match(desk, /^[\x20-\x7e]+$/);
    }),
    { seed, numRuns: 2000, examples: [['a/b.csv', 'rates', false]] },
  );
  assert.ok(accepted > 0);
});
