// What the Python SDK does not say a second time: the contract's tables, and the client that waits for each answer, made of the one that does not.

import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import {
  accelerators,
  contextFates,
  errorCatalogue,
  languages,
  limits,
  roleNames,
  routeList,
  scopes,
  sessionStates,
  sizeNames,
  tiers,
} from '@bulkhead/protocol';

const clientFolder = join(import.meta.dirname, '../../clients/python/src/bulkhead');

const quoted = (text: string): string => JSON.stringify(text);
const truth = (value: boolean): string => (value ? 'True' : 'False');

function literal(name: string, values: readonly string[]): string {
  return `${name} = Literal[${values.map(quoted).join(', ')}]`;
}

/** `_protocol.py`. */
export function makePythonTables(version: string): string {
  const errors = Object.entries(errorCatalogue).map(
    ([code, { status, retry, title }]) =>
      `    ${quoted(code)}: ErrorEntry(${status}, ${quoted(retry)}, ${quoted(title)}),`,
  );
  const routes = routeList.map(
    ({ operation, method, path, scope, creates }) =>
      `    ${quoted(operation)}: Route(${quoted(method)}, ${quoted(path)}, ${truth(scope === 'public')}, ${truth(creates === true)}),`,
  );
  const bounds = Object.entries(limits).map(([name, value]) => `    ${quoted(name)}: ${value},`);
  return `# Made by script/generate from packages/protocol. What is changed here is lost.
"""The contract's tables: errors, routes, limits, and the words that are chosen from."""

from __future__ import annotations

from typing import Literal, NamedTuple

VERSION = ${quoted(version)}

RetryRule = Literal["never", "same_key", "after"]
${[
  literal('Accelerator', accelerators),
  literal('ContextFate', contextFates),
  literal('Language', languages),
  literal('Role', roleNames),
  literal('Scope', scopes),
  literal('SessionState', sessionStates),
  literal('Size', sizeNames),
  literal('Tier', tiers),
].join('\n')}


class ErrorEntry(NamedTuple):
    """What is said of a code: its HTTP status, whether the same call can succeed later, and its meaning."""

    status: int
    retry: RetryRule
    title: str


class Route(NamedTuple):
    method: str
    path: str
    public: bool
    creates: bool


ERROR_CATALOGUE: dict[str, ErrorEntry] = {
${errors.join('\n')}
}

ROUTES: dict[str, Route] = {
${routes.join('\n')}
}

LIMITS: dict[str, int] = {
${bounds.join('\n')}
}
`;
}

/** From what waits elsewhere to what waits here, in their order. */
const replacements: readonly (readonly [RegExp, string])[] = [
  [/\basync (def|with|for)\b/g, '$1'],
  [/\bawait /g, ''],
  [/\bStopAsyncIteration\b/g, 'StopIteration'],
  [/\b__a(enter|exit|iter|next)__\b/g, '__$1__'],
  [/\baclose\b/g, 'close'],
  [/\bAsync([A-Z]\w*)\b/g, '$1'],
];

/** The modules of `_sync`, from those of `_async`; the driver, which does what the others only ask for, is written for each. */
export function makeSyncClient(): readonly { readonly name: string; readonly text: string }[] {
  const names = readdirSync(join(clientFolder, '_async')).filter(
    (name) => name.endsWith('.py') && name !== 'driver.py' && name !== '__init__.py',
  );
  return names.toSorted().map((name) => {
    const source = readFileSync(join(clientFolder, '_async', name), 'utf8');
    const text = replacements.reduce((before, [pattern, to]) => before.replaceAll(pattern, to), source);
    return { name, text: `# Made by script/generate from ../_async/${name}. What is changed here is lost.\n${text}` };
  });
}
