// One output stream of the command. What a guest says goes through `guest`, which keeps it from driving a terminal; a reader
// that went away ends the command quietly.

import { TerminalText } from './terminal-text.ts';

interface Writable {
  readonly isTTY?: boolean;
  readonly writableNeedDrain?: boolean;
  write(text: string, callback?: (error?: Error | null) => void): boolean;
  on(event: 'error', listener: (error: Error & { readonly code?: string }) => void): unknown;
}

const styles = {
  bold: ['1', '22'],
  dim: ['2', '22'],
  red: ['31', '39'],
  green: ['32', '39'],
  yellow: ['33', '39'],
} as const;
export type Style = keyof typeof styles;

export class Output {
  readonly isTty: boolean;
  /** Set once the configuration is known. */
  color = false;
  readonly #stream: Writable;
  readonly #guestText = new TerminalText();
  #broken = false;
  #atLineStart = true;

  constructor(stream: Writable, onBroken: () => void) {
    this.#stream = stream;
    this.isTty = stream.isTTY === true;
    stream.on('error', () => {
      if (this.#broken) return;
      this.#broken = true;
      onBroken();
    });
  }

  /** The reader has gone: nothing that is written arrives. */
  get broken(): boolean {
    return this.#broken;
  }

  /** Nothing more is shown. */
  mute(): void {
    this.#broken = true;
  }

  /** Our own words. Resolves when the stream takes more. */
  async write(text: string): Promise<void> {
    if (this.#broken || text === '') return;
    this.#atLineStart = text.endsWith('\n');
    const taken = Promise.withResolvers<void>();
    const more = this.#stream.write(text, () => taken.resolve());
    if (!more) await taken.promise;
  }

  /** The guest's words: as they are into a pipe or a file, made harmless on a terminal. */
  guest(text: string): Promise<void> {
    return this.write(this.isTty ? this.#guestText.clean(text) : text);
  }

  line(text: string): Promise<void> {
    return this.write(`${text}\n`);
  }

  /** Begins a line of its own when the last one has not ended. */
  async freshLine(): Promise<void> {
    if (this.isTty) await this.write(this.#guestText.end());
    if (!this.#atLineStart) await this.write('\n');
  }

  /** The same where a prompt may follow; a pipe gets nothing that the guest did not write. */
  async freshLineOnTty(): Promise<void> {
    if (this.isTty) await this.freshLine();
  }

  style(style: Style, text: string): string {
    const [on, off] = styles[style];
    return this.isTty && this.color ? `\u001b[${on}m${text}\u001b[${off}m` : text;
  }

  async flush(): Promise<void> {
    if (this.#broken) return;
    const done = Promise.withResolvers<void>();
    this.#stream.write('', () => done.resolve());
    await done.promise;
  }
}

/** One JSON document on a line of its own. Characters that could drive or mislead a terminal are escaped: it stays the same JSON. */
export function jsonLine(value: unknown): string {
  return `${visibleJson(JSON.stringify(value))}\n`;
}

/** JSON that is text already, in the same way. */
export function visibleJson(text: string): string {
  // eslint-disable-next-line no-control-regex -- these characters are what it is about
  return text.replaceAll(/[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb]/g, escapeUnit);
}

/** JSON in which look-alikes and what cannot be seen show themselves. */
export function asciiJson(text: string): string {
  return text.replaceAll(/[^\u0020-\u007e]/g, escapeUnit);
}

function escapeUnit(unit: string): string {
  return `\\u${(unit.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`;
}
