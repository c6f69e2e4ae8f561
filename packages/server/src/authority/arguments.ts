// The arguments of a tool call. They are read once, here, from the bytes that a guest sent; what comes out is what is decided on, recorded and
// executed, and nobody reads the bytes again. Whatever two readers could take for different things is refused: a name twice, text that is not
// Unicode, a whole number that a double cannot hold.

import { createHash } from 'node:crypto';
import { BulkheadError } from '@bulkhead/protocol';
import { authorityLimits } from './authority-limits.ts';

export type ArgumentValue =
  | string
  | number
  | boolean
  | null
  | readonly ArgumentValue[]
  | { readonly [name: string]: ArgumentValue };

export type ArgumentObject = Readonly<Record<string, ArgumentValue>>;

export interface Arguments {
  /** Without a prototype, as every object in it. */
  readonly value: ArgumentObject;
  /** The same as text, in the one form that it has (RFC 8785): names in the order of their UTF-16 units, no white space. */
  readonly canonical: string;
  /** SHA-256 of that, in hexadecimal. */
  readonly digest: string;
}

/** Errors: `invalid_request` for what is not one JSON object with one meaning, `limit_exceeded`. */
export function parseArguments(bytes: Uint8Array): Arguments {
  if (bytes.length > authorityLimits.argumentsMaxBytes) {
    throw tooMuch(`Arguments have at most ${authorityLimits.argumentsMaxBytes} bytes.`);
  }
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    throw new BulkheadError('invalid_request', 'Arguments have to be UTF-8.', { cause: error });
  }
  const value = new ArgumentReader(text).read();
  if (typeof value !== 'object' || value === null || isList(value))
    throw refuse('Arguments have to be one JSON object.');
  return canonicalize(value);
}

/** Arguments that are there as values already, from a part of Bulkhead: the same, in the same form. */
export function canonicalize(value: ArgumentObject): Arguments {
  const canonical = writeCanonical(value);
  return { value, canonical, digest: createHash('sha256').update(canonical).digest('hex') };
}

function writeCanonical(value: ArgumentValue): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  if (isList(value)) return `[${value.map(writeCanonical).join(',')}]`;
  // The default order of strings is that of their UTF-16 units.
  const members = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return `{${members.map(([name, member]) => `${JSON.stringify(name)}:${writeCanonical(member)}`).join(',')}}`;
}

export function isList(value: ArgumentValue): value is readonly ArgumentValue[] {
  return Array.isArray(value);
}

const numberPattern = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
/** As far as the quote that ends it; what is between is for `JSON.parse` to judge. */
const stringPattern = /"(?:[^"\\]|\\.)*"/sy;
const spacePattern = /[ \t\n\r]*/y;

/** JSON as RFC 8259 has it and nothing else, without what makes it ambiguous. */
class ArgumentReader {
  readonly #text: string;
  #at = 0;
  #values = 0;

  constructor(text: string) {
    this.#text = text;
  }

  read(): ArgumentValue {
    const value = this.#value(0);
    this.#space();
    if (this.#at < this.#text.length) throw refuse('Something follows the arguments.');
    return value;
  }

  #value(depth: number): ArgumentValue {
    this.#values += 1;
    if (this.#values > authorityLimits.argumentsMaxValues) throw tooMuch('The arguments have too many values.');
    if (depth > authorityLimits.argumentsMaxDepth) throw tooMuch('The arguments are nested too deeply.');
    this.#space();
    const first = this.#text[this.#at];
    if (first === '{') return this.#object(depth);
    if (first === '[') return this.#list(depth);
    if (first === '"') return this.#string();
    const word = this.#word();
    return word === undefined ? this.#number() : word;
  }

  #object(depth: number): ArgumentObject {
    const object: Record<string, ArgumentValue> = Object.create(null);
    this.#at += 1;
    if (this.#takes('}')) return object;
    do {
      this.#space();
      const name = this.#string();
      if (name.normalize('NFC') !== name) throw refuse('The name of an argument is not in its composed form (NFC).');
      if (Object.hasOwn(object, name)) throw refuse(`The arguments name ${JSON.stringify(name.slice(0, 64))} twice.`);
      if (!this.#takes(':')) throw malformed();
      object[name] = this.#value(depth + 1);
    } while (this.#takes(','));
    if (!this.#takes('}')) throw malformed();
    return object;
  }

  #list(depth: number): readonly ArgumentValue[] {
    const list: ArgumentValue[] = [];
    this.#at += 1;
    if (this.#takes(']')) return list;
    do list.push(this.#value(depth + 1));
    while (this.#takes(','));
    if (!this.#takes(']')) throw malformed();
    return list;
  }

  #string(): string {
    const token = this.#match(stringPattern);
    if (token === undefined) throw malformed();
    let text: string;
    try {
      text = String(JSON.parse(token));
    } catch {
      throw malformed();
    }
    if (!text.isWellFormed()) throw refuse('The arguments hold half a character (a lone surrogate).');
    return text;
  }

  #word(): ArgumentValue | undefined {
    for (const [word, value] of [
      ['true', true],
      ['false', false],
      ['null', null],
    ] as const) {
      if (!this.#text.startsWith(word, this.#at)) continue;
      this.#at += word.length;
      return value;
    }
    return undefined;
  }

  #number(): number {
    const token = this.#match(numberPattern);
    if (token === undefined) throw malformed();
    const value = Number(token);
    const isLossy = !Number.isFinite(value) || (Number.isInteger(value) && !Number.isSafeInteger(value));
    if (isLossy || Object.is(value, -0)) {
      throw refuse(`The number ${token.slice(0, 32)} cannot be kept as it is.`, 'Send large numbers as text.');
    }
    return value;
  }

  #takes(character: string): boolean {
    this.#space();
    if (this.#text[this.#at] !== character) return false;
    this.#at += 1;
    return true;
  }

  #space(): void {
    this.#match(spacePattern);
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const token = pattern.exec(this.#text)?.[0];
    this.#at += token?.length ?? 0;
    return token;
  }
}

function malformed(): BulkheadError {
  return refuse('The arguments are not JSON.');
}

function refuse(message: string, hint?: string): BulkheadError {
  return new BulkheadError('invalid_request', message, {
    details: { field: 'arguments' },
    ...(hint === undefined ? {} : { hint }),
  });
}

function tooMuch(message: string): BulkheadError {
  return new BulkheadError('limit_exceeded', message, { details: { field: 'arguments' } });
}
