// Which addresses a connection may go to. What is not public is refused: networks of the host, what lies beside it, and what only looks public because
// another address is written in it. The lists are IANA's registries of special-purpose addresses
// (https://www.iana.org/assignments/iana-ipv4-special-registry, https://www.iana.org/assignments/iana-ipv6-special-registry).

import { BlockList, isIP } from 'node:net';

function listOf(networks: readonly string[]): BlockList {
  const list = new BlockList();
  for (const network of networks) {
    const [address = '', prefix = ''] = network.split('/');
    list.addSubnet(address, Number(prefix), isIP(address) === 6 ? 'ipv6' : 'ipv4');
  }
  return list;
}

/** Refused whatever a rule says: where clouds hand credentials to whoever asks, and addresses that are another address in disguise. */
const forbidden4 = listOf([
  '0.0.0.0/8',
  '169.254.0.0/16',
  '224.0.0.0/4',
  '255.255.255.255/32',
  // Metadata and agents of clouds outside of the link-local network: Alibaba, Azure, Oracle.
  '100.100.100.200/32',
  '168.63.129.16/32',
  '192.0.0.192/32',
]);
const forbidden6 = listOf([
  '::/128',
  'fe80::/10',
  'ff00::/8',
  // Metadata and credentials at AWS and Google.
  'fd00:ec2::/32',
  'fd20:ce::254/128',
  // IPv4 in IPv6: mapped, compatible (but for ::1, by its two halves), translated, 6to4, Teredo.
  '::ffff:0:0/96',
  '::ffff:0:0:0/96',
  '64:ff9b::/96',
  '64:ff9b:1::/48',
  '2001::/32',
  '2002::/16',
]);
forbidden6.addRange('::2', '::ffff:ffff', 'ipv6');

/** Not public, and so only for rules that name the network. */
const special4 = listOf([
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.31.196.0/24',
  '192.52.193.0/24',
  '192.88.99.0/24',
  '192.168.0.0/16',
  '192.175.48.0/24',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '240.0.0.0/4',
]);
/** The only part of IPv6 that is given out for public use, and what of it is not. */
const public6 = listOf(['2000::/3']);
const special6 = listOf(['2001::/23', '2001:db8::/32', '2620:4f:8000::/48', '3fff::/20']);

export class AddressRule {
  readonly #named: BlockList;

  /** `networks`: CIDRs that may be reached though they are not public. Throws for what is none. */
  constructor(networks: readonly string[]) {
    this.#named = listOf(networks);
  }

  /** Of an address as text; what is none is refused, one with a zone too. */
  allows(address: string): boolean {
    const family = isIP(address);
    if (family === 0 || address.includes('%')) return false;
    if (family === 4) {
      if (forbidden4.check(address, 'ipv4')) return false;
      return !special4.check(address, 'ipv4') || this.#named.check(address, 'ipv4');
    }
    if (forbidden6.check(address, 'ipv6')) return false;
    const isPublic = public6.check(address, 'ipv6') && !special6.check(address, 'ipv6');
    return isPublic || this.#named.check(address, 'ipv6');
  }
}
