import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defaultSize, sizeNames, sizes } from '@bulkhead/protocol';
import { environmentHelp } from '../../src/config/config.ts';
import { readCheckoutFile } from './checkout.ts';

const mib = (count: number): string => `${count.toLocaleString('en')} MiB`;
const page = readCheckoutFile('docs/configuration.md');

test('docs/configuration.md has every variable, with the words of the command, and no other', () => {
  const rows = [...page.matchAll(/^\| `([A-Z_]+)` \| (.+) \|$/gm)].map(([, name, meaning]) => [name, meaning]);
  assert.deepEqual(Object.fromEntries(rows), environmentHelp);
});

test('docs/configuration.md has the sizes as they are', () => {
  for (const size of sizeNames) {
    const { vcpus, memoryMib, scratchMib } = sizes[size];
    const name = size === defaultSize ? `\`${size}\` (default)` : `\`${size}\``;
    assert.ok(page.includes(`| ${name} | ${vcpus} | ${mib(memoryMib)} | ${mib(scratchMib)} |`), size);
  }
});
