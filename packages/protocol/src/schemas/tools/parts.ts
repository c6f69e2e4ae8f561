// What the settings of every kind of tool are made of.

import { z } from 'zod';
import { limits } from '../../limits.ts';

export const description = z.string().min(1).max(2000);
export const identifier = z.string().regex(/^[a-z][a-z0-9_]{0,62}$/);
export const secretName = z.string().regex(/^[a-z][a-z0-9_-]{0,62}$/);

/**
 * What an argument of a tool may be. `name`: letters, digits and a few signs, ASCII. `path`: names with `/` between them, relative. `text`: any text.
 * `integer`: within ±(2^53 - 1). `names`: a set of `name`. Policies see these and `boolean`; `number` and `json` they do not see.
 */
export const parameterKinds = ['name', 'path', 'text', 'integer', 'boolean', 'names', 'number', 'json'] as const;
/** `file`: the path of a file in the guest, whose bytes the host reads when the call comes. Only tools that say so take one. */
export type ParameterKind = (typeof parameterKinds)[number] | 'file';

export const parameter = z.strictObject({
  kind: z.enum(parameterKinds),
  description,
  optional: z.boolean().exactOptional(),
  values: z.array(z.string().min(1).max(256)).min(1).max(100).exactOptional(),
  minimum: z.number().exactOptional(),
  maximum: z.number().exactOptional(),
  maxLength: z.int().min(1).max(262_144).exactOptional(),
});
export const parameters = z
  .record(identifier, parameter)
  .refine((all) => Object.keys(all).length <= limits.toolParametersMaxCount, {
    message: `at most ${limits.toolParametersMaxCount} parameters`,
  });
