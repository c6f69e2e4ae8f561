// What was typed, kept for the next time. It may hold secrets: only its owner reads it.

import { chmod, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode } from './figures.ts';

const linesMaxCount = 1000;

export class ShellHistory {
  readonly #path: string;
  readonly #folder: string;

  constructor(stateDir: string) {
    this.#folder = stateDir;
    this.#path = join(stateDir, 'shell-history');
  }

  /** Newest first, as readline wants it. */
  async load(): Promise<string[]> {
    try {
      const text = await readFile(this.#path, 'utf8');
      return text
        .split('\n')
        .filter((line) => line !== '')
        .slice(-linesMaxCount)
        .toReversed();
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return [];
      throw error;
    }
  }

  async save(newestFirst: readonly string[]): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    const part = `${this.#path}.${process.pid}`;
    await writeFile(part, `${newestFirst.slice(0, linesMaxCount).toReversed().join('\n')}\n`, { mode: 0o600 });
    await chmod(part, 0o600);
    await rename(part, this.#path);
  }
}
