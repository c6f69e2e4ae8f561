// What the schemas of several resources are made of.

import { z } from 'zod';
import { type ErrorCode, errorCatalogue } from '../errors.ts';
import { limits } from '../limits.ts';

/** A moment, in UTC, with milliseconds. */
export const timeSchema = z.iso.datetime().meta({ description: 'A moment in UTC, ISO 8601.' });

/** What lists are asked with. */
export const pageQuery = {
  limit: z
    .int()
    .min(1)
    .max(limits.pageMaxCount)
    .default(limits.pageDefaultCount)
    .meta({ description: 'At most so many.' }),
  cursor: z
    .string()
    .min(1)
    .max(limits.cursorMaxLength)
    .regex(/^[A-Za-z0-9_-]+$/)
    .exactOptional()
    .meta({ description: 'Where the page before ended: its `nextCursor`.' }),
} as const;

/** A page of a list; `nextCursor` is null on the last one. */
export function pageOf<Item extends z.ZodType>(
  item: Item,
): z.ZodObject<{
  items: z.ZodArray<Item>;
  nextCursor: z.ZodNullable<z.ZodString>;
}> {
  return z.object({ items: z.array(item), nextCursor: z.string().nullable() });
}

const errorCodes = Object.keys(errorCatalogue) as [ErrorCode, ...ErrorCode[]]; // oxlint-disable-line typescript/no-unsafe-type-assertion -- the keys of a closed object

const details = z.record(z.string(), z.unknown());

/** An error inside of a resource: why a turn or a session failed. */
export const errorSchema = z
  .object({
    code: z.enum(errorCodes),
    message: z.string(),
    hint: z.string().exactOptional(),
    details: details.exactOptional(),
  })
  .meta({ id: 'Error' });

/** What every request that fails is answered with, as `application/problem+json` (RFC 9457). */
export const problemSchema = z
  .object({
    type: z.string().meta({ description: '`urn:bulkhead:error:` and the code.' }),
    title: z.string(),
    status: z.int(),
    detail: z.string().meta({ description: 'For people; may be reworded.' }),
    code: z.enum(errorCodes),
    hint: z.string().exactOptional().meta({ description: 'What to do next.' }),
    details: details.exactOptional(),
    requestId: z.string(),
  })
  .meta({ id: 'Problem' });
export type Problem = z.infer<typeof problemSchema>;

/** Labels are the caller's own; they are searched for, never interpreted. */
export const labelKeySchema = z.string().regex(/^[a-z0-9][a-z0-9._/-]{0,62}$/);
/** Text of one line. Counted in characters, as in the JSON schema: the flag has it so. */
export const labelValueSchema = z
  .string()
  .regex(new RegExp(`^[^\\u0000-\\u001f\\u007f-\\u009f]{0,${limits.labelValueMaxLength}}$`, 'u'));
export const labelsSchema = z
  .record(labelKeySchema, labelValueSchema)
  .refine((labels) => Object.keys(labels).length <= limits.labelsMaxCount, {
    message: `at most ${limits.labelsMaxCount} labels`,
  })
  .meta({ id: 'Labels', maxProperties: limits.labelsMaxCount });
export type Labels = z.infer<typeof labelsSchema>;

/** A refinement says nothing in a JSON schema; this is the same there. */
export const withoutNul = '^[^\\u0000]*$';

/** A path in the guest: absolute, or relative to `/home/user`. The host never resolves it. */
export const guestPathSchema = z
  .string()
  .min(1)
  .max(limits.pathMaxBytes)
  .refine((path) => !path.includes('\0'), { message: 'a path has no NUL' })
  .meta({ description: 'A path in the guest: absolute, or relative to `/home/user`.', pattern: withoutNul });
