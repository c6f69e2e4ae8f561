import { z } from 'zod';
import { languages } from '../turns.ts';
import { accelerators } from '../tiers.ts';
import { pageOf } from './common.ts';
import { runtimeNameSchema, sizeSchema, tierSchema } from './sessions.ts';

export const healthSchema = z.object({ status: z.literal('ok'), version: z.string() }).meta({ id: 'Health' });
export const readinessSchema = z
  .object({ status: z.enum(['ready', 'starting', 'stopping', 'unavailable']), reasons: z.array(z.string()) })
  .meta({ id: 'Readiness' });

export const limitsSchema = z
  .object({
    limits: z
      .record(z.string(), z.number())
      .meta({ description: 'Every bound: bytes, milliseconds and counts, by the last word of the name.' }),
    sizes: z.record(sizeSchema, z.object({ vcpus: z.int(), memoryMib: z.int(), scratchMib: z.int() })),
    languages: z.array(z.enum(languages)),
  })
  .meta({ id: 'Limits' });

export const templateSchema = z
  .object({
    digest: z.string(),
    kernelVersion: z.string(),
    builtAt: z.string(),
    packageCount: z.int(),
  })
  .meta({ id: 'Template', description: 'A guest image of this host that sessions are launched from.' });
export const templatePage = pageOf(templateSchema).meta({ id: 'TemplatePage' });

export const runtimeSchema = z
  .object({
    runtime: runtimeNameSchema,
    tier: tierSchema,
    accelerator: z.enum(accelerators),
    memorySuspend: z.boolean(),
    fork: z.boolean(),
    network: z.string(),
  })
  .meta({ id: 'Runtime' });
export const runtimeList = z.object({ items: z.array(runtimeSchema) }).meta({ id: 'RuntimeList' });
