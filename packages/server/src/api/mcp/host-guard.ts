// Against DNS rebinding: a page in somebody's browser can make a name of its own lead to this server, and then ask it things. Its requests have that name as their
// host, and the page's origin. So a request is taken only under a name that is known to be this server's, and from a page only when the page is this server's own.

import { isIP } from 'node:net';
import { BulkheadError } from '@bulkhead/protocol';

export interface HostRules {
  /** Beside those of the loopback interface; without a port. */
  readonly hostNames?: readonly string[];
  /** Pages of others that may ask: `https://console.example`. */
  readonly origins?: readonly string[];
}

/** Errors: `forbidden`. */
export function checkHost(
  { host, origin }: { readonly host: string | undefined; readonly origin: string | undefined },
  { hostNames = [], origins = [] }: HostRules,
): void {
  const name = hostName(host);
  if (name === undefined || !isKnown(name, hostNames)) {
    throw new BulkheadError('forbidden', 'This server is not known under the name of this request.', {
      hint: 'Use its own name, or have its operator add this one to the names it is known under.',
    });
  }
  if (origin === undefined || origins.includes(origin) || originHost(origin) === host?.toLowerCase()) return;
  throw new BulkheadError('forbidden', 'Pages of this origin may not use this server.', {
    hint: 'Have its operator add the origin.',
  });
}

/** An address is no name: nobody can make it lead elsewhere. */
function isKnown(name: string, hostNames: readonly string[]): boolean {
  const known = ['localhost', ...hostNames.map((each) => each.toLowerCase())];
  return known.includes(name) || isIP(name.replace(/^\[(.*)\]$/, '$1')) !== 0;
}

/** Without the port. */
function hostName(host: string | undefined): string | undefined {
  return /^(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(?::\d{1,5})?$/.exec(host?.toLowerCase() ?? '')?.[1];
}

function originHost(origin: string): string | undefined {
  return /^https?:\/\/([^/?#@\s]+)$/.exec(origin.toLowerCase())?.[1];
}
