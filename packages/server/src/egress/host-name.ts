// Names of hosts, in the one form that everything here compares: what a guest says, what a rule says and what TLS says of a server.

import { hostNameMaxLength, hostNamePattern } from '@bulkhead/protocol';
import { hasTrueALabels } from '../lib/a-labels.ts';

/** Undefined for what is no name: an address in any notation, a dot at the end, one label, an A-label that decodes to nothing. */
export function parseHostName(text: string): string | undefined {
  // Letters of ASCII only: others that become ASCII when they are made small are not those.
  const name = text.replaceAll(/[A-Z]/g, (letter) => letter.toLowerCase());
  if (name.length > hostNameMaxLength || !hostNamePattern.test(name)) return undefined;
  return hasTrueALabels(name) ? name : undefined;
}

export interface Authority {
  readonly host: string;
  readonly port: number;
}

/** `host:port` of a request's target or its `Host`; without a port only where there is a default. Undefined for what is none. */
export function parseAuthority(text: string, defaultPort?: number): Authority | undefined {
  const match = /^([A-Za-z0-9.-]+)(?::([1-9]\d{0,4}))?$/.exec(text);
  const host = parseHostName(match?.[1] ?? '');
  const port = match?.[2] === undefined ? defaultPort : Number(match[2]);
  return host === undefined || port === undefined || port > 65_535 ? undefined : { host, port };
}

/** Whether a name is what a rule has, where `*.` stands for exactly one label. */
export function isCovered(name: string, patterns: readonly string[]): boolean {
  const wildcard = `*${name.slice(name.indexOf('.'))}`;
  return patterns.some((pattern) => pattern === name || pattern === wildcard);
}
