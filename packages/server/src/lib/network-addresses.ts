// Which addresses the host may connect to on behalf of others. A name is resolved once; every address that it has is looked at, and what is connected to
// is one of those. Only public unicast addresses pass: whatever else there is (private, loopback, link-local, shared, mapped, translated, reserved)
// leads to somebody's inside. A range that an administrator has named passes as well.

import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';

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

/** Where clouds keep what a host must not show, though the address looks like anybody's. */
const insideAddresses: ReadonlySet<string> = new Set(['168.63.129.16']);
const globalUnicast = ipaddr.IPv6.parseCIDR('2000::/3');

/** `ranges` are in CIDR notation, and were checked. */
export function isAllowedAddress(address: string, ranges: readonly string[]): boolean {
  if (isIP(address) === 0 || address.includes('%')) return false;
  const parsed = ipaddr.parse(address);
  if (ranges.some((range) => isWithin(parsed, ipaddr.parseCIDR(range)))) return true;
  if (parsed.range() !== 'unicast' || insideAddresses.has(parsed.toString())) return false;
  return parsed instanceof ipaddr.IPv4 || isWithin(parsed, globalUnicast);
}

function isWithin(address: ipaddr.IPv4 | ipaddr.IPv6, range: [ipaddr.IPv4 | ipaddr.IPv6, number]): boolean {
  return address.kind() === range[0].kind() && address.match(range);
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
  const refused = found.find(({ address }) => !isAllowedAddress(address, ranges));
  if (refused !== undefined) throw new AddressRefused(host, refused.address);
  if (found.length === 0) throw new Error(`${host} has no address.`);
  return found;
}
