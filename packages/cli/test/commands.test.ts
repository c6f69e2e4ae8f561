import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { errorCatalogue } from '@bulkhead/protocol';
import { commandSpecs } from '../src/command-specs.ts';
import { commandHelp } from '../src/help-text.ts';
import { parseCommandLine } from '../src/parse-command-line.ts';
import { callCli } from './run-cli.ts';

describe('help', { concurrency: 2 }, () => {
  it('is what a bare command shows, and names every command', async () => {
    const { exitCode, stdout } = await callCli([]);
    assert.equal(exitCode, 0);
    for (const { name } of commandSpecs) assert.match(stdout, new RegExp(`^  ${name} `, 'm'));
    assert.equal((await callCli(['--help'])).stdout, stdout);
  });

  for (const spec of commandSpecs) {
    it(`of ${spec.name} says every option and has examples that parse`, () => {
      const text = commandHelp(spec);
      for (const [name, { help }] of Object.entries(spec.options)) {
        assert.ok(text.includes(name.length === 1 ? `-${name}` : `--${name}`));
        assert.ok(text.includes(help));
      }
      assert.ok(spec.examples.length > 0);
      for (const [example] of spec.examples) {
        const own = /.*\bbulkhead ([^|<]*)/.exec(example)?.[1] ?? '';
        const words = [...own.matchAll(/'([^']*)'|(\S+)/g)].map((match) => match[1] ?? match[2] ?? '');
        assert.equal(words[0], spec.name, example);
        parseCommandLine(spec, words.slice(1));
      }
    });
  }

  it('is shown even when the rest is wrong', async () => {
    const { exitCode, stdout } = await callCli(['run', '--nonsense', '--help']);
    assert.equal(exitCode, 0);
    assert.match(stdout, /^Usage: bulkhead run/);
  });

  it('explains every exit code', async () => {
    const { stdout } = await callCli(['help', 'exit-codes']);
    for (const [code, { exitCode }] of Object.entries(errorCatalogue)) {
      assert.match(stdout, new RegExp(`^ +${exitCode} +${code} `, 'm'));
    }
  });

  it('explains the environment, but not what is for tests only', async () => {
    const { stdout } = await callCli(['help', 'environment']);
    assert.match(stdout, /BULKHEAD_CACHE_DIR/);
    assert.doesNotMatch(stdout, /FAKE/);
  });
});

describe('what is wrong', { concurrency: 2 }, () => {
  for (const [args, expected] of [
    [['rnu', '1'], /Did you mean `bulkhead run`\?/],
    [['run', '--tiemout', '2', '1'], /Did you mean --timeout\?/],
    [['run', '--timeout'], /invalid_request/],
    [['help', 'shel'], /bulkhead help shell/],
    [['image', 'bild'], /bulkhead image build/],
    [['image'], /build, list, inspect, prune/],
    [['bench', 'lunch'], /Did you mean launch\?/],
    [['bench', 'launch', '-n', '0'], /count from 1/],
    [['bench', 'load', '--clients', 'many'], /count from 1/],
    [['bench', 'load', '-n', '3'], /--clients, --tenants, --seconds/],
    [['bench', 'launch', '--seconds', '3'], /takes no --seconds/],
    [['shell', 'print(1)'], /bulkhead run/],
  ] as const) {
    it(`${args.join(' ')}: exit code 2 and what to do`, async () => {
      const { exitCode, stdout, stderr } = await callCli(args);
      assert.equal(exitCode, 2);
      assert.equal(stdout, '');
      assert.match(stderr, expected);
    });
  }
});

describe('version', () => {
  it('says what it is', async () => {
    assert.match((await callCli(['version'])).stdout, /^bulkhead \d+\.\d+\.\d+ \(node \d+/);
    assert.equal(JSON.parse((await callCli(['version', '--json'])).stdout).channel, 1);
    assert.equal((await callCli(['--version'])).exitCode, 0);
  });
});
