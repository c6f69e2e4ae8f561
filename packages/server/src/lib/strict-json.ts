// JSON from a stranger, refused where two readers could see different things in it: a name twice in one object, `__proto__`, text that is no
// Unicode. Depth and number of values are counted before anything is built from them.

import { isUtf8 } from 'node:buffer';
import { BulkheadError } from '@bulkhead/protocol';
import { printable } from './printable.ts';

export interface JsonBounds {
  readonly depthMaxCount: number;
  readonly valuesMaxCount: number;
}

/** Errors: `invalid_request`. */
export function parseStrictJson(bytes: Buffer, bounds: JsonBounds): unknown {
  if (!isUtf8(bytes)) throw refused('it is not UTF-8');
  const text = bytes.toString('utf8');
  checkShape(text, bounds);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw refused('it is malformed');
  }
  checkText(value);
  return value;
}

/** Counts and compares outside strings; whether the text is JSON at all is for the parser to say. */
function checkShape(text: string, { depthMaxCount, valuesMaxCount }: JsonBounds): void {
  /** The names so far of each object that is open; undefined for an array. */
  const open: (Set<string> | undefined)[] = [];
  let values = 0;
  for (let index = 0; index < text.length; index += 1) {
    switch (text.charAt(index)) {
      case '"': {
        const end = endOfString(text, index);
        const names = open.at(-1);
        if (names !== undefined && isName(text, end)) addName(names, text.slice(index, end + 1));
        index = end;
        break;
      }
      case '{':
      case '[':
        open.push(text.charAt(index) === '{' ? new Set() : undefined);
        values += 1;
        if (open.length > depthMaxCount) throw refused(`it is nested deeper than ${depthMaxCount}`);
        break;
      case '}':
      case ']':
        open.pop();
        break;
      case ',':
        values += 1;
        break;
      default:
    }
    if (values > valuesMaxCount) throw refused(`it has more than ${valuesMaxCount} values`);
  }
}

/** Where the string ends that begins at `start`. */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    let backslashes = 0;
    while (text[end - 1 - backslashes] === '\\') backslashes += 1;
    if (backslashes % 2 === 0) return end;
  }
  throw refused('it is malformed');
}

/** Whether the string that ends at `end` is the name of a member: a colon follows. */
function isName(text: string, end: number): boolean {
  let next = end + 1;
  while (/[ \t\n\r]/.test(text[next] ?? '')) next += 1;
  return text[next] === ':';
}

function addName(names: Set<string>, quoted: string): void {
  let name: string;
  try {
    name = quoted.includes('\\') ? String(JSON.parse(quoted)) : quoted.slice(1, -1);
  } catch {
    throw refused('it is malformed');
  }
  if (name === '__proto__') throw refused('it has a member `__proto__`');
  if (names.has(name)) throw refused(`it has the member ${JSON.stringify(printable(name, 60))} twice`);
  names.add(name);
}

/** Half a surrogate pair, which UTF-8 has no bytes for, would become another text on the way to the guest. */
function checkText(value: unknown): void {
  if (typeof value === 'string') {
    if (!value.isWellFormed()) throw refused('it has text with half of a surrogate pair');
  } else if (typeof value === 'object' && value !== null) {
    for (const [name, member] of Object.entries(value)) {
      checkText(name);
      checkText(member);
    }
  }
}

function refused(why: string): BulkheadError {
  return new BulkheadError('invalid_request', `The JSON is refused: ${why}.`, {
    hint: 'Send one JSON value in UTF-8, with each name once in an object.',
  });
}
