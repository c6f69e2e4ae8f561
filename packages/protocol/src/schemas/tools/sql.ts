import { z } from 'zod';
import { limits } from '../../limits.ts';
import { description, identifier, parameters, secretName } from './parts.ts';

export const sqlSettings = z.strictObject({
  kind: z.literal('sql'),
  description,
  host: z.string().min(1).max(255).meta({ description: 'Or the directory of a Unix socket.' }),
  port: z.int().min(1).max(65_535).default(5432),
  database: z.string().min(1).max(63),
  user: z.string().min(1).max(63).meta({
    description: 'The tenant’s own login: bound by row-level security, a member of nothing, the owner of nothing.',
  }),
  password: secretName.exactOptional().meta({ description: 'The name of the secret that is its password.' }),
  tls: z.enum(['verify', 'off']).default('verify'),
  queries: z
    .record(identifier, z.strictObject({ description, sql: z.string().min(1).max(65_536), parameters }))
    .refine((all) => Object.keys(all).length <= limits.toolOperationsMaxCount, {
      message: `at most ${limits.toolOperationsMaxCount} queries`,
    })
    .default({})
    .meta({ description: 'Named statements with `$1`, `$2`, … in the order of their parameters.' }),
  freeQueries: z.boolean().default(false).meta({ description: 'Any one statement, as operation `query`.' }),
  writes: z.boolean().default(false),
  timeoutMs: z.int().min(100).max(600_000).default(10_000),
  rowsMaxCount: z.int().min(1).max(100_000).default(10_000),
  bytesMax: z.int().min(1024).max(8_000_000).default(4_000_000),
});
export type SqlSettings = z.output<typeof sqlSettings>;
