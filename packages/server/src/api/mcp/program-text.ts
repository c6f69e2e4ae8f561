// Text that a program made, on its way to a model. It is data: whoever reads it must be able to tell where it begins and ends, and the program must
// not be able to forge that. So it stands between two lines with a mark that the program cannot have known.

import { randomBytes } from 'node:crypto';
import { printable } from '../../lib/printable.ts';

export interface Shortened {
  readonly text: string;
  /** Bytes of UTF-8 that are not in `text`. */
  readonly leftOutBytes: number;
}

/** The beginning and the end of a text, with a note between them that says how much is missing. `head` is the share of the beginning. */
export function shorten(text: string, maxLength: number, head = 0.7): Shortened {
  if (text.length <= maxLength) return { text: text.toWellFormed(), leftOutBytes: 0 };
  const headLength = Math.floor(maxLength * head);
  const [start, end] = [headLength, text.length - (maxLength - headLength)];
  const leftOutBytes = Buffer.byteLength(text.slice(start, end));
  const note = `\n[… bulkhead left out ${leftOutBytes} bytes here …]\n`;
  return { text: `${text.slice(0, start)}${note}${text.slice(end)}`.toWellFormed(), leftOutBytes };
}

/** One for each answer: no program that runs can have seen it. */
export function makeMark(): string {
  return randomBytes(6).toString('hex');
}

/** `what` is ours; `text` is the program's. */
export function programText(what: string, text: string, mark: string): string {
  const ending = text.endsWith('\n') ? '' : '\n';
  return `--- begin program output: ${what} (${mark}) ---\n${withoutControls(text)}${ending}--- end program output (${mark}) ---`;
}

/** Without what drives a terminal or reorders what is shown; tabs and line ends stay. */
export function withoutControls(text: string): string {
  return text
    .replaceAll('\r\n', '\n')
    .replaceAll(/(?![\n\t])[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\u{e0000}-\u{e007f}]/gu, '\ufffd');
}

/** A name that the program chose, for a line of ours: quoted, without what could be taken for anything else, and not long. */
export function quotedName(name: string, maxLength = 200): string {
  return JSON.stringify(printable(name, maxLength));
}
