// How a tool is set up, as whoever administers the installation writes it and the store keeps it. Nothing in it is a secret: it names secrets.

import { z } from 'zod';
import { parameterKinds } from '../authority/parameters.ts';
import { toolNamePattern } from '../authority/tool-description.ts';

const description = z.string().min(1).max(2000);
const identifier = z.string().regex(toolNamePattern);
export const secretName = z.string().regex(/^[a-z][a-z0-9_-]{0,62}$/);

const parameter = z.strictObject({
  kind: z.enum(parameterKinds),
  description,
  optional: z.boolean().exactOptional(),
  values: z.array(z.string().min(1).max(256)).min(1).max(100).exactOptional(),
  minimum: z.number().exactOptional(),
  maximum: z.number().exactOptional(),
  maxLength: z.int().min(1).max(262_144).exactOptional(),
});
const parameters = z
  .record(identifier, parameter)
  .refine((all) => Object.keys(all).length <= 64, { message: 'at most 64 parameters' });

const sqlSettings = z.strictObject({
  kind: z.literal('sql'),
  description,
  host: z.string().min(1).max(255),
  port: z.int().min(1).max(65_535).default(5432),
  database: z.string().min(1).max(63),
  user: z
    .string()
    .min(1)
    .max(63)
    .meta({ description: 'The tenant’s own login: bound by row-level security, a member of nothing.' }),
  password: secretName.exactOptional().meta({ description: 'The name of the secret that is its password.' }),
  tls: z.enum(['verify', 'off']).default('verify'),
  queries: z
    .record(identifier, z.strictObject({ description, sql: z.string().min(1).max(65_536), parameters }))
    .refine((all) => Object.keys(all).length <= 200, { message: 'at most 200 queries' })
    .default({}),
  freeQueries: z.boolean().default(false),
  writes: z.boolean().default(false),
  timeoutMs: z.int().min(100).max(600_000).default(10_000),
  rowsMaxCount: z.int().min(1).max(100_000).default(10_000),
  bytesMax: z.int().min(1024).max(8_000_000).default(4_000_000),
});

export const toolSettingsSchema = z.discriminatedUnion('kind', [sqlSettings]).meta({ id: 'ToolSettings' });
export type ToolSettings = z.infer<typeof toolSettingsSchema>;
