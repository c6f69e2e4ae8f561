import { isIP } from 'node:net';

export interface HostResource {
  readonly type: 'Host';
  readonly id: string;
}

/** A host as policies name it, and the domains that it lies in, from the nearest to the farthest. An address lies in none. */
export function domainsOf(host: string): readonly HostResource[] {
  if (isIP(host.replace(/^\[(.*)\]$/, '$1')) !== 0) return [{ type: 'Host', id: host }];
  const labels = host.split('.');
  return labels.map((_, index) => ({ type: 'Host', id: labels.slice(index).join('.') }));
}
