// Names to addresses. Not by the system's own look-up: that has a few threads for the whole process, which slow names would hold, and knows names that
// are the host's alone.

import { Resolver as DnsResolver } from 'node:dns/promises';
import { egressError } from './egress-error.ts';
import { egressLimits } from './egress-limits.ts';

export interface Resolver {
  /** Every address of a name, IPv4 and IPv6; at least one. Errors: `tool_failed`. */
  resolve(host: string): Promise<readonly string[]>;
}

/** Asks these servers, each as `address` or `address:port`; without any, those that the host is configured with. */
export function dnsResolver(
  servers?: readonly string[],
  { timeoutMs = egressLimits.lookupMs / 4 }: { readonly timeoutMs?: number } = {},
): Resolver {
  return {
    async resolve(host) {
      const resolver = new DnsResolver({ timeout: timeoutMs, tries: 2 });
      if (servers !== undefined) resolver.setServers(servers);
      const answers = await Promise.allSettled([resolver.resolve4(host), resolver.resolve6(host)]);
      const addresses = answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []));
      if (addresses.length > 0) return addresses;
      const failed = answers.find((answer) => answer.status === 'rejected');
      throw egressError('lookup', 'The name has no address.', failed?.reason);
    },
  };
}
