import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { ProtocolViolation } from '../../src/guest/frame.ts';
import { parseJson, parseMessage } from '../../src/guest/json.ts';
import { fileEntrySchema, runMessageSchema } from '../../src/guest/messages.ts';
import { printable } from '../../src/lib/printable.ts';

const seed = Number(process.env['BULKHEAD_TEST_SEED'] ?? 20_261_123);

function nested(depth: number): Buffer {
  return Buffer.from('['.repeat(depth) + ']'.repeat(depth));
}

test('JSON within the bounds is what JSON.parse says', () => {
  fc.assert(
    fc.property(fc.json({ maxDepth: 10 }), (text) => {
      assert.deepEqual(parseJson(Buffer.from(text)), JSON.parse(text));
    }),
    { seed, numRuns: 1000 },
  );
});

test('JSON beyond the bounds, or none at all, is a violation', () => {
  assert.ok(Array.isArray(parseJson(nested(16))));
  for (const bytes of [
    nested(17),
    nested(1_000_000),
    Buffer.from('[' + '0,'.repeat(300_000) + '0]'),
    Buffer.from('{"a":"\xff"}', 'latin1'),
    Buffer.from('{"a":'),
    Buffer.from('NaN'),
    Buffer.from(''),
    Buffer.from('"' + '\\'.repeat(99_999) + '"'),
  ]) {
    assert.throws(() => parseJson(bytes), ProtocolViolation);
  }
  // Brackets in a string are not depth, and an escaped quote does not end one.
  assert.equal(parseJson(Buffer.from(`"\\"${'['.repeat(50)}"`)), `"${'['.repeat(50)}`);
});

test('a bundle keeps its representations, without __proto__ and lone surrogates', () => {
  const text =
    '{"type":"display","data":{"text/plain":"a\\ud800b","application/json":{"__proto__":{"polluted":1},"n":[1,{"__proto__":2}]}},"__proto__":{"x":1}}';
  const message = parseMessage(Buffer.from(text), runMessageSchema, 'test');
  assert.equal(
    JSON.stringify(message),
    JSON.stringify({
      type: 'display',
      data: { 'text/plain': 'a\ufffdb', 'application/json': { n: [1, {}] } },
    }),
  );
  assert.equal(({} as Record<string, unknown>)['polluted'], undefined);
  for (const data of ['{"__proto__":"x"}', '{"nomime":"x"}', '[]', 'null', `{"a/${'b'.repeat(200)}":1}`]) {
    assert.throws(
      () => parseMessage(Buffer.from(`{"type":"result","data":${data}}`), runMessageSchema, 'test'),
      ProtocolViolation,
    );
  }
});

test('an exception is cut to size, not refused', () => {
  const frame = { file: 'f'.repeat(9000), line: 1, name: 'n' };
  const message = parseMessage(
    Buffer.from(
      JSON.stringify({
        type: 'exception',
        name: 'E'.repeat(5000),
        value: 'v'.repeat(1_000_000),
        traceback: 't'.repeat(1_000_000),
        frames: Array.from({ length: 1000 }, () => frame),
      }),
    ),
    runMessageSchema,
    'test',
  );
  assert.ok(message.type === 'exception');
  assert.deepEqual(
    [message.name.length, message.value.length, message.traceback.length, message.frames.length],
    [1024, 65_536, 262_144, 200],
  );
});

test('a name in a listing is not a path', () => {
  const stat = { kind: 'file', size: 1, mode: 0o644, modifiedNs: '1' };
  for (const name of ['..', '.', '', 'a/b', '/etc/passwd', 'a\0b', 'x'.repeat(5000)]) {
    assert.throws(
      () => parseMessage(Buffer.from(JSON.stringify({ name, ...stat })), fileEntrySchema, 'test'),
      ProtocolViolation,
      name,
    );
  }
  assert.equal(
    parseMessage(Buffer.from(JSON.stringify({ name: 'a\nb', ...stat })), fileEntrySchema, 'test').name,
    'a\nb',
  );
});

test('violations and messages carry no escape sequences', () => {
  assert.equal(printable('a\u001b[31mred\u0007\u202eb\u2028c\n', 100), 'a [31mred b c');
  assert.equal(printable('x'.repeat(500), 10), `${'x'.repeat(9)}…`);
  try {
    parseMessage(Buffer.from('{"type":"\\u001b[2J"}'), runMessageSchema, 'message');
    assert.fail('accepted');
  } catch (error) {
    assert.match(String(error), /^ProtocolViolation: message: [\w .-]+$/);
  }
});
