// Where exposed ports are found. What a session serves is an attacker's page: the origin that it is on decides what it can reach.
//
//   api      below /p/{port}/ of the API itself; what is served there is sandboxed by the browser, an origin of nobody
//   shared   below /p/{port}/ of another host; ports share an origin with each other, not with the API
//   each     a host of its own for each port: https://{port}.example.net

import { type PortId, parseId } from '@bulkhead/protocol';

export interface PortPlace {
  readonly id: string;
  /** What comes before the guest's own paths; empty where the port has a host of its own. */
  readonly prefix: string;
  /** Path and query as they came, without the prefix: begins with `/`, or is empty where the `/` is missing. */
  readonly target: string;
}

export interface PortAddresses {
  readonly kind: 'api' | 'shared' | 'each';
  /** `https` where the configured address says so. Undefined: as the request came. */
  readonly protocol: 'http' | 'https' | undefined;
  /** What a caller is told: a path of the API, or an address. */
  addressOf(id: PortId): string;
  /** Whether a request is for a port: nothing else may answer it then. */
  isForPort(host: string | undefined, target: string): boolean;
  /** Undefined: there is nothing at this place. */
  find(host: string | undefined, target: string): PortPlace | undefined;
}

const below = /^\/p\/(?<id>[a-z0-9_]{1,64})(?<target>(?:[/?].*)?)$/s;

function findBelow(target: string): PortPlace | undefined {
  const groups = below.exec(target)?.groups;
  const id = groups?.['id'];
  if (id === undefined) return undefined;
  return { id, prefix: `/p/${id}`, target: groups?.['target'] ?? '' };
}

function isBelow(target: string): boolean {
  return target === '/p' || /^\/p[/?]/.test(target);
}

export interface PortAddressesOptions {
  /** Of the configuration, which has checked it; `{port}` in it stands for a port. */
  readonly portsUrl?: string | undefined;
  /** Where clients reach the API. */
  readonly publicUrl?: string | undefined;
}

export function portAddresses({ portsUrl: url, publicUrl }: PortAddressesOptions = {}): PortAddresses {
  if (url === undefined) {
    return {
      kind: 'api',
      protocol: publicUrl?.startsWith('https:') === true ? 'https' : undefined,
      addressOf: (id) => `/p/${id}/`,
      isForPort: (_host, target) => isBelow(target),
      find: (_host, target) => findBelow(target),
    };
  }
  const { protocol: scheme, host: pattern } = new URL(url.replace('{port}', 'port-x'));
  const protocol = scheme === 'https:' ? 'https' : 'http';
  if (!url.includes('{port}')) {
    const isHere = (host: string | undefined): boolean => host?.toLowerCase() === pattern;
    return {
      kind: 'shared',
      protocol,
      addressOf: (id) => `${protocol}://${pattern}/p/${id}/`,
      isForPort: isHere,
      find: (host, target) => (isHere(host) ? findBelow(target) : undefined),
    };
  }
  // An underscore is not for host names.
  const suffix = pattern.slice('port-x'.length);
  // Other hosts of the same domain are not ours to answer for.
  const idOf = (host: string | undefined): PortId | undefined => {
    const name = host?.toLowerCase();
    return name?.endsWith(suffix) === true
      ? parseId('port', name.slice(0, -suffix.length).replace('-', '_'))
      : undefined;
  };
  return {
    kind: 'each',
    protocol,
    addressOf: (id) => `${protocol}://${id.replace('_', '-')}${suffix}/`,
    isForPort: (host) => idOf(host) !== undefined,
    find(host, target) {
      const id = idOf(host);
      return id === undefined ? undefined : { id, prefix: '', target };
    },
  };
}
