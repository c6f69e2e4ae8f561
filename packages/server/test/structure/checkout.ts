import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** The root of the checkout that this test file is part of. */
export const checkoutRoot: string = join(import.meta.dirname, '../../../..');

/** Every file that is or would be committed, as paths from the root with forward slashes, sorted. */
export function listCheckoutFiles(): readonly string[] {
  return execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '-z'], {
    cwd: checkoutRoot,
    encoding: 'utf8',
  })
    .split('\0')
    .filter((path) => path !== '' && existsSync(join(checkoutRoot, path)))
    .toSorted();
}

export function readCheckoutFile(path: string): string {
  return readFileSync(join(checkoutRoot, path), 'utf8');
}
