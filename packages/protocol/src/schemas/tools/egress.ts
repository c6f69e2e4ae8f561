// Where sessions may connect to: one rule, under the name that grants, policies and records use.

import { z } from 'zod';
import { limits } from '../../limits.ts';
import { description } from './parts.ts';

const label = '[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?';
// The last label begins with a letter, so nothing that a resolver would read as an address is a name.
const name = `(?:${label}\\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?`;

/** A host by its name: small letters, at least two labels, A-labels for what is not ASCII, no dot at the end. */
export const hostNamePattern: RegExp = new RegExp(`^${name}$`);
export const hostNameMaxLength = 253;

export const egressSchemes = ['https', 'http'] as const;
export type EgressScheme = (typeof egressSchemes)[number];
export const egressMethods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const;

export const egressSettings = z
  .strictObject({
    kind: z.literal('egress'),
    description,
    hosts: z
      .array(
        z
          .string()
          .max(hostNameMaxLength)
          .regex(new RegExp(`^(?:\\*\\.)?${name}$`)),
      )
      .min(1)
      .max(limits.egressHostsMaxCount)
      .meta({ description: 'Names; `*.example.com` stands for exactly one label more, and not for `example.com`.' }),
    scheme: z.enum(egressSchemes).default('https').meta({
      description:
        '`https`: TLS, whose server name is looked at and which is not broken. `http`: requests without TLS.',
    }),
    port: z.int().min(1).max(65_535).exactOptional().meta({ description: '443, or 80 for `http`, when not given.' }),
    methods: z
      .array(z.enum(egressMethods))
      .min(1)
      .exactOptional()
      .meta({ description: 'Of `http`: GET and HEAD when not given. Within TLS nothing can be seen of them.' }),
    addresses: z
      .array(z.union([z.cidrv4(), z.cidrv6()]))
      .max(limits.egressAddressesMaxCount)
      .default([])
      .meta({
        description:
          'Networks that the names may lead to though they are not public. Metadata services stay out of reach.',
      }),
    bytesMax: z.int().min(1024).max(1_000_000_000_000).default(1_073_741_824).meta({
      description: 'That one session may send and receive by this rule, all its connections together.',
    }),
    connectionsMaxCount: z.int().min(1).max(limits.egressConnectionsMaxCount).default(limits.egressConnectionsMaxCount),
    idleMs: z.int().min(100).max(600_000).default(60_000),
    connectionMs: z.int().min(100).max(28_800_000).default(3_600_000),
  })
  .refine(({ scheme, methods }) => scheme === 'http' || methods === undefined, {
    path: ['methods'],
    message: 'methods cannot be seen within TLS',
  });
export type EgressSettings = z.output<typeof egressSettings>;
