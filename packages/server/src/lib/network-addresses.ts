// Where a host is that we connect to on behalf of others. A name is resolved once; every address that it has is looked at, and what is connected to is one
// of those.

import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { AddressRule } from './address-rule.ts';

export interface ResolvedAddress {
  readonly address: string;
  readonly family: number;
}

/** All addresses of a name. */
export type Resolve = (name: string) => Promise<readonly ResolvedAddress[]>;

export const systemResolve: Resolve = async (name) => await lookup(name, { all: true });

/** The address stays on the host: who asked for the name learns nothing of where it leads. */
export class AddressRefused extends Error {
  constructor(host: string, address: string) {
    super(`${host} is at ${address}, which is no public address and in no range that was named.`);
    this.name = 'AddressRefused';
  }
}

/**
 * The addresses of a host, every one of which passes. `host` is a name or an address, as `URL.hostname` has it.
 * Errors: `AddressRefused`, those of `resolve`.
 */
export async function resolveAllowed(
  host: string,
  ranges: readonly string[],
  resolve: Resolve = systemResolve,
): Promise<readonly ResolvedAddress[]> {
  const literal = host.replace(/^\[(.*)\]$/, '$1');
  const family = isIP(literal);
  const found = family === 0 ? await resolve(literal) : [{ address: literal, family }];
  const rule = new AddressRule(ranges);
  const refused = found.find(({ address }) => !rule.allows(address));
  if (refused !== undefined) throw new AddressRefused(host, refused.address);
  if (found.length === 0) throw new Error(`${host} has no address.`);
  return found;
}
