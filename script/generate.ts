// Writes what is made from the sources; says which files changed.

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeGeneratedFiles } from './generated/files.ts';

const root = join(import.meta.dirname, '..');
for (const { path, text } of makeGeneratedFiles()) {
  const target = join(root, path);
  const changed = !existsSync(target) || readFileSync(target, 'utf8') !== text;
  if (changed) writeFileSync(target, text);
  process.stdout.write(`${changed ? 'written  ' : 'unchanged'} ${path}\n`);
}
