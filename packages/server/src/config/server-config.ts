// How `bulkhead serve` listens and is reached. Loopback unless told otherwise, and beyond it only with TLS, or where somebody says that something
// in front has it.

import { isIP } from 'node:net';
import { isAbsolute } from 'node:path';
import { z } from 'zod';

export interface ServerConfig {
  readonly host: string;
  /** 0: any that is free. */
  readonly port: number;
  /** Files in PEM. */
  readonly tls: { readonly certFile: string; readonly keyFile: string } | undefined;
  /** Where clients reach it; stated, and used in what refers to it. */
  readonly publicUrl: string | undefined;
  /** Where the other servers on the same database reach this one. */
  readonly peerUrl: string | undefined;
  /** Addresses and networks of proxies whose `X-Forwarded-*` are believed. */
  readonly trustProxy: readonly string[];
  /** Names beside that of `publicUrl` that it is known under. */
  readonly hostNames: readonly string[];
  /** Where ports of sessions are served, apart from the API; `{port}` in its host stands for a port. */
  readonly portsUrl: string | undefined;
  /** Origins whose pages may ask from a browser. */
  readonly corsOrigins: readonly string[];
  /** How long turns that run may go on when the server stops. */
  readonly drainMs: number;
  readonly logLevel: LogLevel;
}

export const logLevels = ['fatal', 'error', 'warn', 'info', 'debug', 'silent'] as const;
export type LogLevel = (typeof logLevels)[number];

export const defaultPort = 8420;

const list = (item: z.ZodType<string, string>): z.ZodType<readonly string[], string> =>
  z
    .string()
    .transform((text) => text.split(',').map((part) => part.trim()))
    .pipe(z.array(item).max(64));
const file = z.string().refine(isAbsolute, { message: 'expected an absolute path' });
const flag = z.enum(['0', '1', 'false', 'true']).transform((text) => text === '1' || text === 'true');
const wholeNumber = (most: number): z.ZodType<number, string> =>
  z
    .string()
    .regex(/^\d{1,5}$/, { message: `expected a whole number from 0 to ${most}` })
    .transform(Number)
    .refine((number) => number <= most, { message: `expected a whole number from 0 to ${most}` });
/** Nothing but where it is: what follows is ours. */
const baseUrl = z
  .url({ protocol: /^https?$/, message: 'expected http://… or https://…' })
  .refine((text) => URL.canParse(text) && isBare(new URL(text)), {
    message: 'expected a scheme, a host and a port, without a path or a password',
  })
  .transform((text) => new URL(text).origin);
/** With `{port}`, if at all, for the first label of the host. */
const portsUrl = z
  .string()
  .refine(
    (text) => {
      const url = text.replace(/^(https?:\/\/)\{port\}\.(?=[^.])/, '$1prt-x.');
      return /^https?:/.test(url) && URL.canParse(url) && isBare(new URL(url)) && !/[{}%]/.test(url);
    },
    { message: 'expected http(s)://host or http(s)://{port}.host, without a path' },
  )
  .transform((text) => text.replace(/\/$/, '').toLowerCase());
const network = z.string().refine(
  (text) => {
    const [address = '', bits = '0', ...rest] = text.split('/');
    return isIP(address) !== 0 && /^\d{1,3}$/.test(bits) && rest.length === 0;
  },
  { message: 'expected addresses or networks, as 10.0.0.1 or 10.0.0.0/8, with commas between' },
);
const hostName = z.string().regex(/^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/i, {
  message: 'expected names of hosts without a port, with commas between',
});
const origin = z.string().refine((text) => URL.canParse(text) && new URL(text).origin === text, {
  message: 'expected origins as browsers write them, https://app.example.com, with commas between',
});

export const serverEnvironment = {
  BULKHEAD_HOST: z
    .string()
    .refine((text) => isIP(text) !== 0, { message: 'expected an IP address' })
    .default('127.0.0.1'),
  BULKHEAD_PORT: wholeNumber(65_535).default(defaultPort),
  BULKHEAD_TLS_CERT: file.optional(),
  BULKHEAD_TLS_KEY: file.optional(),
  BULKHEAD_ALLOW_PLAIN_HTTP: flag.default(false),
  BULKHEAD_PUBLIC_URL: baseUrl.optional(),
  BULKHEAD_PEER_URL: baseUrl.optional(),
  BULKHEAD_PORTS_URL: portsUrl.optional(),
  BULKHEAD_TRUST_PROXY: list(network).default([]),
  BULKHEAD_HOST_NAMES: list(hostName).default([]),
  BULKHEAD_CORS_ORIGINS: list(origin).default([]),
  BULKHEAD_DRAIN_SECONDS: wholeNumber(3600).default(30),
  BULKHEAD_LOG_LEVEL: z.enum(logLevels).default('info'),
};
type ServerEnvironment = z.output<z.ZodObject<typeof serverEnvironment>>;

export const serverEnvironmentHelp: Readonly<Record<keyof typeof serverEnvironment, string>> = {
  BULKHEAD_HOST: '`serve`: the address to listen on (default: 127.0.0.1)',
  BULKHEAD_PORT: `\`serve\`: the port to listen on; 0 is any that is free (default: ${defaultPort})`,
  BULKHEAD_TLS_CERT: '`serve`: the certificate chain, in PEM; with `BULKHEAD_TLS_KEY`, it speaks TLS',
  BULKHEAD_TLS_KEY: '`serve`: the private key of the certificate, in PEM',
  BULKHEAD_ALLOW_PLAIN_HTTP:
    '`serve`: 1 lets it listen beyond loopback without TLS, behind a proxy that has it (default: 0)',
  BULKHEAD_PUBLIC_URL: '`serve`: where clients reach it, as https://bulkhead.example.com (default: where it listens)',
  BULKHEAD_PEER_URL:
    '`serve`: where the other servers on the same database reach this one (default: nowhere; its sessions are then served by it alone)',
  BULKHEAD_PORTS_URL:
    '`serve`: where ports of sessions are served: https://{port}.ports.example.net, a host for each (its DNS name and certificate have a wildcard), or https://ports.example.net, one host for all (default: below /p/ of the API, where pages are sandboxed)',
  BULKHEAD_TRUST_PROXY: '`serve`: addresses and networks whose `X-Forwarded-For` is believed (default: none)',
  BULKHEAD_HOST_NAMES:
    '`serve`: names of this server that MCP is asked under, beside localhost and that of BULKHEAD_PUBLIC_URL (default: none)',
  BULKHEAD_CORS_ORIGINS: '`serve`: origins whose pages may ask from a browser (default: none)',
  BULKHEAD_DRAIN_SECONDS: '`serve`: how long turns that run may go on when it is told to stop (default: 30)',
  BULKHEAD_LOG_LEVEL: '`serve`: fatal, error, warn, info, debug or silent (default: info)',
};

export function toServerConfig(env: ServerEnvironment): ServerConfig {
  const { BULKHEAD_TLS_CERT: certFile, BULKHEAD_TLS_KEY: keyFile } = env;
  return {
    host: env.BULKHEAD_HOST,
    port: env.BULKHEAD_PORT,
    tls: certFile === undefined || keyFile === undefined ? undefined : { certFile, keyFile },
    publicUrl: env.BULKHEAD_PUBLIC_URL,
    peerUrl: env.BULKHEAD_PEER_URL,
    portsUrl: env.BULKHEAD_PORTS_URL,
    trustProxy: env.BULKHEAD_TRUST_PROXY,
    hostNames: env.BULKHEAD_HOST_NAMES,
    corsOrigins: env.BULKHEAD_CORS_ORIGINS,
    drainMs: env.BULKHEAD_DRAIN_SECONDS * 1000,
    logLevel: env.BULKHEAD_LOG_LEVEL,
  };
}

/** What is wrong with them together. */
export function serverProblems(env: ServerEnvironment): readonly string[] {
  const problems: string[] = [];
  const { BULKHEAD_TLS_CERT: certFile, BULKHEAD_TLS_KEY: keyFile, BULKHEAD_HOST: host } = env;
  if ((certFile === undefined) !== (keyFile === undefined)) {
    const missing = certFile === undefined ? 'BULKHEAD_TLS_CERT' : 'BULKHEAD_TLS_KEY';
    problems.push(`${missing}: a certificate and its key go together (got one of them, expected both)`);
  }
  if (!isLoopback(host) && certFile === undefined && !env.BULKHEAD_ALLOW_PLAIN_HTTP) {
    problems.push(
      `BULKHEAD_HOST: keys would cross the network in the clear (got ${JSON.stringify(host)} without TLS, expected BULKHEAD_TLS_CERT and BULKHEAD_TLS_KEY, a loopback address, or BULKHEAD_ALLOW_PLAIN_HTTP=1 where a proxy in front has TLS)`,
    );
  }
  const { BULKHEAD_PORTS_URL: ports, BULKHEAD_PUBLIC_URL: api } = env;
  if (ports !== undefined && ports === api) {
    problems.push(
      `BULKHEAD_PORTS_URL: what sessions serve could speak for the API's own pages there (got ${JSON.stringify(ports)}, expected another host than that of BULKHEAD_PUBLIC_URL)`,
    );
  }
  return problems;
}

function isLoopback(host: string): boolean {
  return host === '::1' || host.startsWith('127.') || host.startsWith('::ffff:127.');
}

function isBare({ pathname, search, hash, username, password }: URL): boolean {
  return pathname === '/' && search === '' && hash === '' && username === '' && password === '';
}
