// Lines to blocks: what is fed to an interpreter as one turn. Two callers with one rule each: from a pipe, an empty line ends a
// block; at a prompt, a line that is complete in itself is a block. Neither cuts a bracket, a string or an indented suite.

import type { Language } from '@bulkhead/protocol';
import { SourceScanner } from './source-scanner.ts';

export type BlockMode = 'blank-line' | 'line' | 'prompt';

const continuation = /^(?:else|elif|except|finally|case)\b/;
const directive = /^(?:!|:[a-z]|%lang\b)/;

export class BlockReader {
  readonly #mode: BlockMode;
  #language: Language;
  #lines: string[] = [];
  #scanner: SourceScanner;
  /** An empty line came after an indented one: the next line decides. */
  #undecided = false;

  constructor(mode: BlockMode, language: Language) {
    this.#mode = mode;
    this.#language = language;
    this.#scanner = new SourceScanner(language);
  }

  set language(language: Language) {
    this.#language = language;
    if (this.#lines.length === 0) this.#scanner = new SourceScanner(language);
  }

  /** Whether a block has begun. */
  get pending(): boolean {
    return this.#lines.length > 0;
  }

  /** The blocks that this line completes: none, one, or one and the line itself. */
  push(line: string): string[] {
    if (this.#mode === 'line') return line.trim() === '' ? [] : [line];
    if (line.trim() === '') return this.#pushBlank(line);
    const done: string[] = [];
    if (this.#undecided) {
      this.#undecided = false;
      if (!/^\s/.test(line) && !continuation.test(line)) done.push(...this.end());
    }
    if (this.#lines.length === 0 && directive.test(line)) return [...done, line];
    this.#lines.push(line);
    this.#scanner.push(line);
    if (this.#mode === 'prompt' && !this.#scanner.open && !this.#inSuite()) done.push(...this.end());
    return done;
  }

  /** What is left when nothing follows; also gives up a block that is open. */
  end(): string[] {
    const lines = this.#lines;
    this.reset();
    while (lines.at(-1)?.trim() === '') lines.pop();
    return lines.length === 0 ? [] : [lines.join('\n')];
  }

  reset(): void {
    this.#lines = [];
    this.#undecided = false;
    this.#scanner = new SourceScanner(this.#language);
  }

  #pushBlank(line: string): string[] {
    if (this.#lines.length === 0) return [];
    if (this.#scanner.open) {
      this.#lines.push(line);
      this.#scanner.push(line);
      return this.#scanner.open || this.#inSuite() ? [] : this.end();
    }
    if (this.#mode === 'blank-line' && !this.#undecided && this.#lastLineInSuite()) {
      this.#undecided = true;
      this.#lines.push(line);
      return [];
    }
    return this.end();
  }

  /** Python goes on after a line that opens a suite until an empty one. */
  #inSuite(): boolean {
    if (this.#language !== 'python') return false;
    return this.#lines.some((line) => opensSuite(line) || line.startsWith('@'));
  }

  #lastLineInSuite(): boolean {
    const last = this.#lines.at(-1) ?? '';
    return this.#language === 'python' && (/^\s/.test(last) || opensSuite(last));
  }
}

function opensSuite(line: string): boolean {
  return /:\s*(?:#.*)?$/.test(line);
}
