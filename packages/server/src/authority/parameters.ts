// What an operation of a tool takes, as data, and the one place where arguments are held against it. A kind says what text may be, so that
// what is decided on and what a tool makes of it cannot differ: a `name` is no path, a `path` has no way up.

import { BulkheadError, type ParameterKind } from '@bulkhead/protocol';
import { type ArgumentValue, type Arguments, canonicalize, isList } from './arguments.ts';
import { authorityLimits } from './authority-limits.ts';

export interface Parameter {
  readonly kind: ParameterKind;
  readonly description: string;
  readonly optional?: boolean;
  /** The only values that it takes: of a `name`, or of each in `names`. */
  readonly values?: readonly string[];
  /** Of an `integer` or a `number`. */
  readonly minimum?: number;
  readonly maximum?: number;
  /** Of a `text`, in UTF-16 units. */
  readonly maxLength?: number;
  /** Of a `file`. */
  readonly maxBytes?: number;
}

export type Parameters = Readonly<Record<string, Parameter>>;

const namePattern = /^[A-Za-z0-9](?:[A-Za-z0-9 ._:@+=,-]*[A-Za-z0-9._:@+=,-])?$/;
const pathSegmentPattern = /^[\p{L}\p{N}][\p{L}\p{N}\p{M} ._:@+=,!()'~-]*$/u;

/** The arguments, every one of them as its parameter has it, and none besides. Errors: `invalid_request` that names the parameter. */
export function checkArguments(parameters: Parameters, { value }: Arguments): Arguments {
  const checked: Record<string, ArgumentValue> = Object.create(null);
  for (const name of Object.keys(value)) {
    if (!Object.hasOwn(parameters, name))
      throw refuse(name, 'is none that this operation takes', Object.keys(parameters));
  }
  for (const [name, parameter] of Object.entries(parameters)) {
    const given = Object.hasOwn(value, name) ? value[name] : undefined;
    if (given === undefined) {
      if (parameter.optional !== true) throw refuse(name, 'is missing');
      continue;
    }
    const problem = problemFinders[parameter.kind](parameter, given);
    if (problem !== undefined) throw refuse(name, problem);
    checked[name] = parameter.kind === 'names' && isList(given) ? [...new Set(given.map(String))].toSorted() : given;
  }
  return canonicalize(checked);
}

const problemFinders: Readonly<
  Record<ParameterKind, (parameter: Parameter, value: ArgumentValue) => string | undefined>
> = {
  name: findNameProblem,
  path: (_, value) => (isPath(value) ? undefined : 'has to be a relative path of plain names'),
  text: findTextProblem,
  integer: findNumberProblem,
  boolean: (_, value) => (typeof value === 'boolean' ? undefined : 'has to be true or false'),
  names: findNamesProblem,
  number: findNumberProblem,
  json: () => undefined,
  // What a guest says is a path; by now the host has put what it read in its place.
  file: (_, value) => (isFileFacts(value) ? undefined : 'has to be a file that was read'),
};

function findNameProblem({ values }: Parameter, value: ArgumentValue): string | undefined {
  if (typeof value !== 'string') return 'has to be text';
  if (values !== undefined) return values.includes(value) ? undefined : `has to be one of ${values.join(', ')}`;
  return isName(value) ? undefined : 'has to be a name: ASCII letters, digits and a few signs, no path';
}

function findNamesProblem(parameter: Parameter, value: ArgumentValue): string | undefined {
  if (!isList(value)) return 'has to be a list of names';
  if (value.length > authorityLimits.namesMaxCount) return `has at most ${authorityLimits.namesMaxCount} names`;
  return value.map((member) => findNameProblem(parameter, member)).find((problem) => problem !== undefined);
}

function findTextProblem(
  { maxLength = authorityLimits.textMaxLength }: Parameter,
  value: ArgumentValue,
): string | undefined {
  if (typeof value !== 'string') return 'has to be text';
  if (value.length > maxLength) return `has at most ${maxLength} characters`;
  return value.includes('\0') ? 'has a NUL in it' : undefined;
}

function findNumberProblem({ kind, minimum, maximum }: Parameter, value: ArgumentValue): string | undefined {
  if (typeof value !== 'number') return 'has to be a number';
  if (kind === 'integer' && !Number.isSafeInteger(value)) return 'has to be a whole number';
  if (minimum !== undefined && value < minimum) return `is at least ${minimum}`;
  return maximum !== undefined && value > maximum ? `is at most ${maximum}` : undefined;
}

/** A name that cannot be taken for a path, an escape or another name that looks like it. */
export function isName(text: string): boolean {
  return text.length <= authorityLimits.nameMaxLength && namePattern.test(text) && !text.includes('..');
}

/** A path that has one meaning: no way up, no empty part, nothing escaped, nothing decomposed. */
export function isPath(value: ArgumentValue): value is string {
  if (typeof value !== 'string' || value.length > authorityLimits.pathMaxLength) return false;
  if (value.normalize('NFC') !== value) return false;
  return value.split('/').every((segment) => pathSegmentPattern.test(segment) && !segment.endsWith(' '));
}

/** What stands for a file in arguments that are decided on: its bytes as the host has read them. */
export type FileFacts = { readonly sha256: string; readonly size: number };

function isFileFacts(value: ArgumentValue): value is FileFacts {
  if (typeof value !== 'object' || value === null || isList(value) || Object.keys(value).length !== 2) return false;
  const { sha256, size } = value;
  return typeof sha256 === 'string' && /^[0-9a-f]{64}$/.test(sha256) && Number.isSafeInteger(size) && Number(size) >= 0;
}

function refuse(name: string, problem: string, known?: readonly string[]): BulkheadError {
  return new BulkheadError('invalid_request', `The argument ${JSON.stringify(name.slice(0, 64))} ${problem}.`, {
    details: { field: name.slice(0, 64) },
    ...(known === undefined ? {} : { hint: `It takes: ${known.join(', ') || 'nothing'}.` }),
  });
}

/** What policies see of arguments. */
export function visibleArguments(parameters: Parameters, { value }: Arguments): Record<string, VisibleValue> {
  const visible: Record<string, VisibleValue> = {};
  for (const [name, member] of Object.entries(value)) {
    if (!isVisible(parameters[name]?.kind) || member === null) continue;
    if (isList(member)) visible[name] = member.map(String);
    else if (isFileFacts(member)) visible[name] = { sha256: member.sha256, size: member.size };
    else if (typeof member !== 'object') visible[name] = member;
  }
  return visible;
}

export type VisibleValue = string | number | boolean | string[] | { sha256: string; size: number };

export function isVisible(kind: ParameterKind | undefined): boolean {
  return kind !== undefined && kind !== 'number' && kind !== 'json';
}
