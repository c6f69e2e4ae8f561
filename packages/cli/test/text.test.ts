import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BulkheadError } from '@bulkhead/protocol';
import * as fc from 'fast-check';
import { BlockReader } from '../src/block-reader.ts';
import { formatBytes, formatDuration, parseDurationMs } from '../src/duration.ts';
import { nearest } from '../src/nearest.ts';
import { jsonLine } from '../src/output.ts';
import { readBlock } from '../src/shell-directive.ts';
import { TerminalText, terminalText } from '../src/terminal-text.ts';

describe('text for a terminal', () => {
  // eslint-disable-next-line no-control-regex -- these characters are what it is about
  const dangerous = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/;

  for (const [name, given, expected] of [
    ['text, newlines and tabs', 'a\tb\nä€😀', 'a\tb\nä€😀'],
    ['colours are left out', '\u001b[1;31mred\u001b[0m', 'red'],
    ['cursor moves are left out', 'a\u001b[2J\u001b[10;10Hb', 'ab'],
    ['the clipboard', '\u001b]52;c;aGk=\u0007', '␛]52;c;aGk=␇'],
    ['a device question', '\u001bP+q\u001b\\', '␛P+q␛\\'],
    ['C1 controls', '\u009b31m', '<U+009B>31m'],
    ['direction', 'a\u202eb', 'a<U+202E>b'],
    ['a lone return', 'safe\revil', 'safe␍evil'],
    ['a return before a newline', 'a\r\nb', 'a\nb'],
    ['a sequence without end', `\u001b[${'1'.repeat(100)}m`, `␛[${'1'.repeat(100)}m`],
    ['backspaces', 'ab\b\bcd', 'ab␈␈cd'],
  ] as const) {
    it(name, () => assert.equal(terminalText(given), expected));
  }

  it('is the same however it is cut, and never dangerous', () => {
    const units = fc.array(
      fc.constantFrom('\u001b', '[', '3', '1', ';', 'm', '\r', '\n', 'x', '\u009b', ']', '\u0007', 'é'),
    );
    fc.assert(
      fc.property(units, fc.integer({ min: 1, max: 4 }), (all, size) => {
        const text = all.join('');
        const cleaner = new TerminalText();
        let cleaned = '';
        for (let at = 0; at < text.length; at += size) cleaned += cleaner.clean(text.slice(at, at + size));
        cleaned += cleaner.end();
        assert.equal(cleaned, terminalText(text));
        assert.doesNotMatch(cleaned, dangerous);
      }),
    );
    fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => assert.doesNotMatch(terminalText(text), dangerous)));
  });
});

describe('a JSON line', () => {
  it('is the same value, and one line', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const line = jsonLine({ text });
        assert.equal(line.split('\n').length, 2);
        assert.deepEqual(JSON.parse(line), JSON.parse(JSON.stringify({ text })));
      }),
    );
  });
});

function blocksOf(text: string, mode: 'blank-line' | 'line' | 'prompt' = 'blank-line'): string[] {
  const reader = new BlockReader(mode, 'python');
  return [...text.split('\n').flatMap((line) => reader.push(line)), ...reader.end()];
}

describe('blocks', () => {
  it('end at an empty line', () => {
    assert.deepEqual(blocksOf('x = 1\ny = 2\n\nprint(x)\n\n\n'), ['x = 1\ny = 2', 'print(x)']);
  });

  it('go on within brackets and strings', () => {
    assert.deepEqual(blocksOf('x = [\n\n1]\n\ny'), ['x = [\n\n1]', 'y']);
    assert.deepEqual(blocksOf('x = """\n\n# "\n\n"""\n\ny'), ['x = """\n\n# "\n\n"""', 'y']);
    assert.deepEqual(blocksOf("x = 'it''s # no'\n\ny # ( \n\nz"), ["x = 'it''s # no'", 'y # ( ', 'z']);
  });

  it('go on within a suite and before a line that continues it', () => {
    const suite = 'def f():\n    a = 1\n\n    return a\n\nf()';
    assert.deepEqual(blocksOf(suite), ['def f():\n    a = 1\n\n    return a', 'f()']);
    assert.deepEqual(blocksOf('try:\n  1/0\n\nexcept Exception:\n  pass\n\nx'), [
      'try:\n  1/0\n\nexcept Exception:\n  pass',
      'x',
    ]);
  });

  it('end at two empty lines at latest', () => {
    const reader = new BlockReader('blank-line', 'python');
    assert.deepEqual(
      ['def f():', '  pass', '', ''].flatMap((line) => reader.push(line)),
      ['def f():\n  pass'],
    );
  });

  it('at a prompt are a line, or end with a suite', () => {
    const reader = new BlockReader('prompt', 'python');
    assert.deepEqual(reader.push('x = 1'), ['x = 1']);
    assert.deepEqual(
      ['for i in x:', '  print(i)', ''].flatMap((line) => reader.push(line)),
      ['for i in x:\n  print(i)'],
    );
    assert.deepEqual(
      ['f(', ')'].flatMap((line) => reader.push(line)),
      ['f(\n)'],
    );
    assert.deepEqual(
      ['"a\\', 'b"'].flatMap((line) => reader.push(line)),
      ['"a\\\nb"'],
    );
  });

  it('know the other languages', () => {
    const bash = new BlockReader('prompt', 'bash');
    const loop = ['for i in 1 2; do', 'echo $i', 'done'];
    assert.deepEqual(
      loop.flatMap((line) => bash.push(line)),
      [loop.join('\n')],
    );
    const document = ['cat <<EOF', '', "it's", 'EOF'];
    assert.deepEqual(
      document.flatMap((line) => bash.push(line)),
      [document.join('\n')],
    );
    const javascript = new BlockReader('prompt', 'javascript');
    const code = ['const f = () => {', ' return `', '}`; // {', '}'];
    assert.deepEqual(
      code.flatMap((line) => javascript.push(line)),
      [code.join('\n')],
    );
  });

  it('lose no line, whatever comes', () => {
    const line = fc.constantFrom('x', '  y', 'if a:', 'else:', '(', ')', '"""', "'", '# c', 'a\\', '@d', 'z = 1');
    fc.assert(
      fc.property(fc.array(line), fc.constantFrom('blank-line' as const, 'prompt' as const), (lines, mode) => {
        assert.equal(blocksOf(lines.join('\n'), mode).join('\n'), lines.join('\n'));
      }),
    );
  });
});

describe('directives', () => {
  it('are told from code', () => {
    assert.deepEqual(readBlock('!ls -l', 'python'), { kind: 'code', code: 'ls -l', language: 'bash' });
    assert.deepEqual(readBlock('%lang js', 'python'), { kind: 'lang', language: 'javascript' });
    assert.deepEqual(readBlock('%timeit f()', 'python'), { kind: 'code', code: '%timeit f()', language: 'python' });
    assert.deepEqual(readBlock(':upload "a b" c', 'python'), { kind: 'upload', local: 'a b', guest: 'c' });
    assert.throws(() => readBlock(':downlod x', 'python'), {
      code: 'invalid_request',
      hint: 'Did you mean :download?',
    });
    assert.throws(() => readBlock(':upload', 'python'), { code: 'invalid_request' });
  });
});

describe('small things', () => {
  it('durations', () => {
    assert.deepEqual(['2', '500ms', '1.5s', '5m', '1h'].map(parseDurationMs), [2000, 500, 1500, 300_000, 3_600_000]);
    for (const text of ['', '0', '-1', '1 day', '9h', 'NaN', '1e3']) {
      assert.throws(
        () => parseDurationMs(text),
        (error) => BulkheadError.is(error, 'invalid_request'),
        text,
      );
    }
    assert.equal(formatDuration(1234), '1.2 s');
    assert.equal(formatBytes(1536), '1.5 KiB');
  });

  it('suggestions', () => {
    assert.equal(nearest('--josn', ['--json', '--quiet']), '--json');
    assert.equal(nearest('--zebra', ['--json', '--quiet']), undefined);
  });
});
