import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { checkoutRoot, listCheckoutFiles, readCheckoutFile } from './checkout.ts';

/** The lines of the README's shell blocks. */
function readCommands(): readonly string[] {
  const blocks = readCheckoutFile('README.md').matchAll(/^```sh\n([\s\S]*?)^```$/gm);
  return [...blocks].flatMap(([, block = '']) => block.split('\n')).filter((line) => line.trim() !== '');
}

test('every script that the README names can be run', () => {
  const scripts = new Set(readCommands().flatMap((line) => line.match(/\bscript\/[a-z-]+/g) ?? []));
  assert.ok(scripts.has('script/demo') && scripts.has('script/test'));
  for (const script of scripts) accessSync(join(checkoutRoot, script), constants.X_OK);
});

test('every command of bulkhead that the README names explains itself', () => {
  const names = new Set(
    readCommands().flatMap((line) => [...line.matchAll(/\.\/bulkhead ([a-z]+)/g)].map((match) => match[1] ?? '')),
  );
  assert.ok(names.has('run'));
  for (const name of names) {
    const { status, stdout, stderr } = spawnSync(join(checkoutRoot, 'bulkhead'), [name, '--help'], {
      encoding: 'utf8',
      timeout: 20_000,
    });
    assert.equal(status, 0, `bulkhead ${name} --help: ${stderr}`);
    assert.match(stdout, new RegExp(`bulkhead ${name}\\b`));
  }
});

/** A regular expression between backticks can look like a link. */
const withoutCode = (text: string): string => text.replaceAll(/`[^`\n]*`/g, '``');

test('every link in the documents leads to a file', () => {
  const broken = listCheckoutFiles()
    .filter((path) => path.endsWith('.md'))
    .flatMap((path) =>
      [...withoutCode(readCheckoutFile(path)).matchAll(/\]\(([^)#\s]+)[^)]*\)/g)]
        .map((match) => match[1] ?? '')
        .filter((target) => !/^[a-z]+:/.test(target) && !existsSync(join(checkoutRoot, dirname(path), target)))
        .map((target) => `${path}: ${target}`),
    );
  assert.deepEqual(broken, []);
});
