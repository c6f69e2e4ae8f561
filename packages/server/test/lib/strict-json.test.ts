import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { parseStrictJson } from '../../src/lib/strict-json.ts';

const bounds = { depthMaxCount: 8, valuesMaxCount: 200 };
const parse = (text: string): unknown => parseStrictJson(Buffer.from(text), bounds);
const refused = { code: 'invalid_request' };

/** As JSON has it: no -0, no text that UTF-8 cannot have, no name that means something to the language. */
const value = fc
  .jsonValue({ maxDepth: 5, stringUnit: 'grapheme' })
  .filter((each) => !JSON.stringify(each).includes('__proto__') && JSON.stringify(each).split(',').length < 50);

test('what one parser makes of a text is what every other makes of it', () => {
  fc.assert(
    fc.property(value, fc.constantFrom(undefined, 1, '\t'), (each, space) => {
      const text = JSON.stringify(each, undefined, space);
      assert.deepEqual(parse(text), JSON.parse(text));
    }),
  );
});

test('a name twice is refused at any depth, however it is written', () => {
  const name = fc.string({ minLength: 1, maxLength: 8, unit: 'grapheme' }).filter((each) => each !== '__proto__');
  const unit = (text: string, at: number): string => text.charCodeAt(at).toString(16).padStart(4, '0');
  const escaped = (text: string): string =>
    `"${Array.from({ length: text.length }, (_, at) => `\\u${unit(text, at)}`).join('')}"`;
  fc.assert(
    fc.property(name, value, fc.integer({ min: 0, max: 3 }), fc.boolean(), (each, between, depth, isEscaped) => {
      const second = isEscaped ? escaped(each) : JSON.stringify(each);
      const object = `{${JSON.stringify(each)} : 1, "${'x'.repeat(9)}": ${JSON.stringify(between)}, ${second}\n: 2}`;
      assert.throws(() => parse('[{"a":'.repeat(depth) + object + '}]'.repeat(depth)), refused);
      // The control: with another name it is taken.
      const other = object.replace(`, ${second}\n:`, `, "${'y'.repeat(9)}":`);
      if (depth < 2) parse('[{"a":'.repeat(depth) + other + '}]'.repeat(depth));
    }),
  );
});

test('a name in one object is not a name in another', () => {
  assert.deepEqual(parse('{"a":{"a":1},"b":[{"a":1},{"a":2}]}'), { a: { a: 1 }, b: [{ a: 1 }, { a: 2 }] });
  assert.deepEqual(parse('["a","a",{"a":"a"}]'), ['a', 'a', { a: 'a' }]);
});

test('depth and number are bounded before anything is made of them', () => {
  parse('['.repeat(8) + ']'.repeat(8));
  assert.throws(() => parse('['.repeat(9) + ']'.repeat(9)), refused);
  parse(`[${'0,'.repeat(198)}0]`);
  assert.throws(() => parse(`[${'0,'.repeat(400)}0]`), refused);
  const started = performance.now();
  assert.throws(() => parse('['.repeat(5_000_000)), refused);
  assert.throws(() => parse(`"${'\\'.repeat(1_000_001)}`), refused);
  assert.ok(performance.now() - started < 5000, 'in linear time');
});

test('no text makes it throw anything but a refusal', () => {
  const pieces = fc.constantFrom(
    '{',
    '}',
    '[',
    ']',
    ',',
    ':',
    '"',
    '\\',
    'a',
    '__proto__',
    '0',
    ' ',
    'null',
    '\\u0041',
    '\\ud800',
  );
  fc.assert(
    fc.property(fc.array(pieces, { maxLength: 40 }), (parts) => {
      try {
        parse(parts.join(''));
      } catch (error) {
        assert.equal((error as { readonly code?: string }).code, 'invalid_request');
      }
    }),
  );
});
