// Whether code goes on: brackets, strings and here-documents that are open, line by line. Not a parser: where it is wrong, the
// block is sent as it is and the interpreter says what it thinks.

import type { Language } from '@bulkhead/protocol';

interface LanguageRules {
  /** A comment goes from here to the end of the line. */
  readonly comment: readonly string[];
  /** Longest first. `multiline`: may go on over the line's end. */
  readonly quotes: readonly { readonly mark: string; readonly multiline: boolean; readonly raw?: boolean }[];
  readonly blockComment?: readonly [string, string];
}

const rules: Readonly<Record<Language, LanguageRules>> = {
  python: {
    comment: ['#'],
    quotes: [
      { mark: '"""', multiline: true },
      { mark: "'''", multiline: true },
      { mark: '"', multiline: false },
      { mark: "'", multiline: false },
    ],
  },
  javascript: {
    comment: ['//'],
    blockComment: ['/*', '*/'],
    quotes: [
      { mark: '`', multiline: true },
      { mark: '"', multiline: false },
      { mark: "'", multiline: false },
    ],
  },
  bash: {
    comment: ['#'],
    quotes: [
      { mark: '"', multiline: true },
      { mark: "'", multiline: true, raw: true },
    ],
  },
};

const bashOpeners = new Set(['if', 'case', 'do']);
const bashClosers = new Set(['fi', 'esac', 'done']);

export class SourceScanner {
  readonly #language: Language;
  #depth = 0;
  /** What ends the string or comment that is open. */
  #until: string | undefined;
  #raw = false;
  #hereDocument: string | undefined;
  #continued = false;

  constructor(language: Language) {
    this.#language = language;
  }

  get open(): boolean {
    return this.#depth > 0 || this.#until !== undefined || this.#hereDocument !== undefined || this.#continued;
  }

  push(line: string): void {
    if (this.#hereDocument !== undefined) {
      if (line.trim() === this.#hereDocument) this.#hereDocument = undefined;
      return;
    }
    this.#continued = false;
    this.#scan(line);
    if (this.#language === 'bash') this.#scanBash(line);
  }

  #scan(line: string): void {
    const { comment, quotes, blockComment } = rules[this.#language];
    let at = 0;
    while (at < line.length) {
      if (this.#until !== undefined) {
        at = this.#skipString(line, at, this.#until);
        continue;
      }
      if (comment.some((mark) => line.startsWith(mark, at)) && startsWord(this.#language, line, at)) return;
      const quote = quotes.find(({ mark }) => line.startsWith(mark, at));
      if (quote !== undefined) {
        this.#until = quote.mark;
        this.#raw = quote.raw === true;
        at += quote.mark.length;
      } else if (blockComment !== undefined && line.startsWith(blockComment[0], at)) {
        this.#until = blockComment[1];
        this.#raw = true;
        at += blockComment[0].length;
      } else {
        const character = line.charAt(at);
        if ('([{'.includes(character)) this.#depth += 1;
        else if (')]}'.includes(character)) this.#depth = Math.max(0, this.#depth - 1);
        else if (character === '\\') {
          if (at === line.length - 1) this.#continued = true;
          at += 1;
        }
        at += 1;
      }
    }
    const open = quotes.find(({ mark }) => mark === this.#until);
    if (open !== undefined && !open.multiline) {
      if (!this.#continued) this.#until = undefined;
    }
  }

  /** Where the string ends, or the end of the line. */
  #skipString(line: string, from: number, until: string): number {
    this.#continued = false;
    for (let at = from; at < line.length; at += 1) {
      if (line.charAt(at) === '\\' && !this.#raw) {
        if (at === line.length - 1) this.#continued = true;
        at += 1;
      } else if (line.startsWith(until, at)) {
        this.#until = undefined;
        return at + until.length;
      }
    }
    return line.length;
  }

  #scanBash(line: string): void {
    if (this.#until !== undefined) return;
    const words = line.split(/[\s;]+/);
    for (const word of words) {
      if (bashOpeners.has(word)) this.#depth += 1;
      else if (bashClosers.has(word)) this.#depth = Math.max(0, this.#depth - 1);
    }
    this.#hereDocument = /<<-?\s*["']?(\w+)["']?/.exec(line)?.[1];
  }
}

/** In bash a `#` inside a word is no comment. */
function startsWord(language: Language, line: string, at: number): boolean {
  return language !== 'bash' || at === 0 || /\s|;/.test(line.charAt(at - 1));
}
