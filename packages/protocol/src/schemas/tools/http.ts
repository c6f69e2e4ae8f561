import { z } from 'zod';
import { limits } from '../../limits.ts';
import { description, identifier, parameter } from './parts.ts';
import { addressRanges, headerName, httpCredential, originSchema } from './remote.ts';

/**
 * Where an argument goes: into the segment `{name}` of the path, the query, a header, a member of the JSON object that is the body (`field`), or the
 * body itself, as JSON.
 */
export const argumentPlaces = ['path', 'query', 'header', 'field', 'body'] as const;
export type ArgumentPlace = (typeof argumentPlaces)[number];

const httpParameter = parameter.extend({
  in: z.enum(argumentPlaces),
  as: z
    .string()
    .regex(/^[\x21-\x7e]{1,128}$/)
    .exactOptional()
    .meta({ description: 'How the service names it, if otherwise.' }),
});
export type HttpParameter = z.output<typeof httpParameter>;

const httpOperation = z.strictObject({
  description,
  method: z.enum(['GET', 'POST', 'PUT', 'PATCH', 'DELETE']),
  path: z
    .string()
    .max(2048)
    .regex(/^(?:\/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|\{[a-z][a-z0-9_]{0,62}\})*)+$/)
    .meta({ description: 'Segments with at most one `{parameter}` each: `/v1/prices/{symbol}`.' }),
  parameters: z
    .record(identifier, httpParameter)
    .refine((all) => Object.keys(all).length <= limits.toolParametersMaxCount, {
      message: `at most ${limits.toolParametersMaxCount} parameters`,
    })
    .default({}),
});
export type HttpOperation = z.output<typeof httpOperation>;

const mediaRange = z.string().regex(/^[a-z0-9!#$&^_.+-]{1,64}\/(?:\*|[a-z0-9!#$&^_.+-]{1,64})$/);

export const httpSettings = z.strictObject({
  kind: z.literal('http'),
  description,
  origin: originSchema,
  operations: z
    .record(identifier, httpOperation)
    .refine((all) => Object.keys(all).length <= limits.toolOperationsMaxCount, {
      message: `at most ${limits.toolOperationsMaxCount} operations`,
    }),
  credential: httpCredential.exactOptional(),
  headers: z
    .record(headerName, z.string().regex(/^[\x20-\x7e]{0,1024}$/))
    .refine((all) => Object.keys(all).length <= 16, { message: 'at most 16 headers' })
    .exactOptional()
    .meta({ description: 'Sent with every request. Nothing secret: what is here can be read.' }),
  addresses: addressRanges,
  redirects: z
    .strictObject({ maxCount: z.int().min(1).max(5), origins: z.array(originSchema).max(10).default([]) })
    .exactOptional()
    .meta({
      description:
        'Redirects of a GET that are followed, to the tool’s own origin and these. Without it, none are. The credential goes to the tool’s own origin only.',
    }),
  contentTypes: z.array(mediaRange).min(1).max(32).exactOptional().meta({
    description: 'What answers may be: `application/json`, `image/*`. Without it, anything.',
  }),
  timeoutMs: z.int().min(100).max(600_000).default(30_000),
  bytesMax: z.int().min(1024).max(1_073_741_824).default(4_000_000),
});
export type HttpSettings = z.output<typeof httpSettings>;
