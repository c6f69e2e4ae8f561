// The server that commands ask, when there is one, and as whom.

import { z } from 'zod';

export interface ClientConfig {
  /** `none`: no server, whatever else there is. */
  readonly url: string | undefined;
  /** A secret. */
  readonly apiKey: string | undefined;
}

const loopback: ReadonlySet<string> = new Set(['localhost', '127.0.0.1', '[::1]']);

const serverUrl = z
  .url({ protocol: /^https?$/, message: 'expected https://…, or http:// and a loopback address' })
  .refine((text) => URL.canParse(text) && isFit(new URL(text)), {
    message: 'expected https://…, or http:// and a loopback address, without a path or a password',
  })
  .transform((text) => new URL(text).origin);

export const clientEnvironment = {
  BULKHEAD_URL: z.literal('none').or(serverUrl).optional(),
  BULKHEAD_API_KEY: z
    .string()
    .regex(/^[\x21-\x7e]{1,4096}$/, { message: 'expected a key as it was shown' })
    .optional(),
};

export const clientEnvironmentHelp: Readonly<Record<keyof typeof clientEnvironment, string>> = {
  BULKHEAD_URL:
    'the server that commands ask, or none (default: that of `bulkhead login`, or one that runs on this host)',
  BULKHEAD_API_KEY: 'the key for it (default: that of `bulkhead login`)',
};

export function toClientConfig(env: z.output<z.ZodObject<typeof clientEnvironment>>): ClientConfig {
  return { url: env.BULKHEAD_URL, apiKey: env.BULKHEAD_API_KEY };
}

/** A key must not cross a network in the clear. */
function isFit({ protocol, hostname, pathname, search, hash, username, password }: URL): boolean {
  const isBare = pathname === '/' && search === '' && hash === '' && username === '' && password === '';
  return isBare && (protocol === 'https:' || loopback.has(hostname));
}
