// What the settings of tools share that speak HTTP to something elsewhere.

import { z } from 'zod';
import { secretName } from './parts.ts';

export const originSchema = z
  .string()
  .max(300)
  .regex(/^https?:\/\/[^/?#@\\\s]+$/)
  .refine((text) => URL.canParse(text) && new URL(text).origin === text, {
    message:
      'scheme, host and port as a browser writes them: https://api.example.net, or with a port that is not usual',
  })
  .meta({ description: 'Scheme, host and port: `https://api.example.net`.' });

export const headerName = z.string().regex(/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$/);

/** The secret that is put into each request, on the host. */
export const httpCredential = z
  .discriminatedUnion('in', [
    z.strictObject({ in: z.literal('bearer'), secret: secretName }),
    z.strictObject({
      in: z.literal('basic'),
      user: z.string().regex(/^[\x20-\x39\x3b-\x7e]{1,256}$/),
      secret: secretName,
    }),
    z.strictObject({ in: z.literal('header'), name: headerName, secret: secretName }),
    z.strictObject({ in: z.literal('query'), name: z.string().regex(/^[A-Za-z0-9._~-]{1,64}$/), secret: secretName }),
  ])
  .meta({ description: 'A secret that the host puts into each request.' });
export type HttpCredential = z.output<typeof httpCredential>;

export const addressRanges = z
  .array(z.union([z.cidrv4(), z.cidrv6()]))
  .max(32)
  .default([])
  .meta({
    description:
      'Address ranges beside public ones that the host may resolve to: `10.20.0.0/16`. Private, loopback, link-local and metadata addresses are refused unless they are named here.',
  });
