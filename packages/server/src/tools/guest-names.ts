// Names of others as names that a guest can write: what a tool of an MCP server, an operation of an OpenAPI document or one of their parameters is called in
// Python, JavaScript and policies. The other's own name is kept beside it, so that a name is made in one direction only and never guessed back.

import { BulkheadError } from '@bulkhead/protocol';

/** Names that Python keeps for itself, as far as they have the form of an identifier of ours. */
const pythonKeywords: ReadonlySet<string> = new Set(
  `and as assert async await break class continue def del elif else except finally for from global if import in is lambda nonlocal not or pass raise
   return try while with yield`.split(/\s+/),
);

/** `getPrices`, `get-prices`, `Get.Prices` are all `get_prices`. Undefined for what has no letter to begin with. */
export function toIdentifier(name: string): string | undefined {
  const written = name
    .replaceAll(/([a-z0-9])([A-Z])/g, '$1_$2')
    .replaceAll(/([A-Z])([A-Z][a-z])/g, '$1_$2')
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '_')
    .replaceAll(/^_+|_+$/g, '');
  if (!/^[a-z][a-z0-9_]{0,62}$/.test(written)) return undefined;
  return pythonKeywords.has(written) ? `${written}_` : written;
}

/** Each under the name that it has for a guest. Errors: `invalid_request` for one that has none, and for two that would have one. */
export function nameAll<T>(things: readonly T[], nameOf: (thing: T) => string): ReadonlyMap<string, T> {
  const named = new Map<string, T>();
  for (const thing of things) {
    const name = nameOf(thing);
    const identifier = toIdentifier(name);
    if (identifier === undefined) throw refuse(`${quote(name)} cannot be written as a name in the guest.`);
    const other = named.get(identifier);
    if (other !== undefined) throw refuse(`${quote(nameOf(other))} and ${quote(name)} would both be ${identifier}.`);
    named.set(identifier, thing);
  }
  return named;
}

function quote(name: string): string {
  return JSON.stringify(name.slice(0, 128));
}

function refuse(message: string): BulkheadError {
  return new BulkheadError('invalid_request', message, { hint: 'Leave one of them out.' });
}
