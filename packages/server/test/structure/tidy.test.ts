import assert from 'node:assert/strict';
import { basename } from 'node:path';
import { test } from 'node:test';
import { listCheckoutFiles, readCheckoutFile } from './checkout.ts';

const maxLines = 500;
// Written in pieces, so that this file does not find itself.
const unfinishedWords = ['TO_DO', 'FIX_ME', 'XX_X'].map((word) => word.replace('_', ''));
const packageHosts = [
  ['registry', 'npmjs', 'org'],
  ['deb', 'debian', 'org'],
  ['snapshot', 'debian', 'org'],
  ['security', 'debian', 'org'],
  ['ftp', 'debian', 'org'],
  ['archive', 'ubuntu', 'com'],
  ['security', 'ubuntu', 'com'],
  ['pypi', 'org'],
  ['files', 'pythonhosted', 'org'],
].map((labels) => labels.join('.'));

const files = listCheckoutFiles();
const texts = files.filter((path) => !/\.(?:png|jpg|gif|ico|woff2|gz|zst)$/.test(path) && path !== 'package-lock.json');
/** Written by script/generate, from sources that the rules hold for. */
const isGenerated = (path: string): boolean => path === 'docs/openapi.json';
const isProse = (path: string): boolean => path.endsWith('.md') || path === 'LICENSE' || path.endsWith('.csv');

/** `path:line` of every line of every text that the pattern matches. */
function findLines(pattern: RegExp, paths: readonly string[]): readonly string[] {
  return paths.flatMap((path) =>
    readCheckoutFile(path)
      .split('\n')
      .flatMap((line, index) => (pattern.test(line) ? [`${path}:${index + 1}: ${line.trim().slice(0, 120)}`] : [])),
  );
}

test(`no source file is longer than ${maxLines} lines`, () => {
  const long = texts
    .filter((path) => !isProse(path) && !isGenerated(path) && !path.includes('/fixtures/'))
    .map((path) => [path, readCheckoutFile(path).split('\n').length] as const)
    .filter(([, lines]) => lines > maxLines);
  assert.deepEqual(long, []);
});

test('nothing is left unfinished', () => {
  assert.deepEqual(findLines(new RegExp(`\\b(?:${unfinishedWords.join('|')})\\b`), texts), []);
});

test('no text names a host of a package registry', () => {
  assert.deepEqual(findLines(new RegExp(packageHosts.join('|').replaceAll('.', '\\.')), texts), []);
});

test('no text names a path of the machine that it was written on', () => {
  const outsideGuest = texts.filter((path) => !path.startsWith('guest/'));
  assert.deepEqual(findLines(/(?:^|[\s"'`(=:,])\/(?:work|root)\//, outsideGuest), []);
});

test('file names are kebab-case; the guest agent’s are snake_case as Python modules must be; the well-known ones are as they are', () => {
  const wellKnown = /^(?:[A-Z]+\.md|LICENSE|\..+)$/;
  const kebab = /^[a-z0-9]+(?:-[a-z0-9]+)*(?:\.[a-z0-9]+(?:-[a-z0-9]+)*)*$/;
  const snake = /^_?_?[a-z0-9]+(?:_[a-z0-9]+)*(?:__)?\.[a-z]+$/;
  const wrong = files.filter((path) => {
    const name = basename(path);
    return (
      !wellKnown.test(name) &&
      !kebab.test(name) &&
      !((path.endsWith('.py') || path.startsWith('guest/agent/')) && snake.test(name))
    );
  });
  assert.deepEqual(wrong, []);
});
