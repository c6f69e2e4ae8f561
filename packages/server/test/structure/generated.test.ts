import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeGeneratedFiles } from '../../../../script/generated/files.ts';
import { checkoutRoot, readCheckoutFile } from './checkout.ts';

for (const { path, text } of makeGeneratedFiles()) {
  test(`${path} is what script/generate writes`, () => {
    const found = existsSync(join(checkoutRoot, path)) ? readCheckoutFile(path) : '';
    // Compared by line, so that a failure shows the lines and not two files.
    const lines = new Set(found.split('\n'));
    const missing = text.split('\n').filter((line) => !lines.has(line));
    assert.ok(
      found === text,
      `${path} is not what the sources say: run script/generate and commit it. Lines that are missing, first of all:\n${missing.slice(0, 10).join('\n')}`,
    );
  });
}
