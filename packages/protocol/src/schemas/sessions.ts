import { z } from 'zod';
import { idSchema } from '../ids.ts';
import { limits, timeLimitsMaximum, timeLimitsMinimum } from '../limits.ts';
import { runtimeNames } from '../runtimes.ts';
import { sessionStates } from '../session-states.ts';
import { sizeNames } from '../sizes.ts';
import { tiers } from '../tiers.ts';
import { grantSchema } from './authority.ts';
import {
  errorSchema,
  labelKeySchema,
  labelValueSchema,
  labelsSchema,
  pageOf,
  pageQuery,
  timeSchema,
} from './common.ts';

export const sizeSchema = z.enum(sizeNames).meta({ id: 'Size' });
export const tierSchema = z
  .enum(tiers)
  .meta({ id: 'Tier', description: 'How strong the wall around the machine is, strongest first.' });
export const runtimeNameSchema = z
  .enum(runtimeNames)
  .meta({ id: 'RuntimeName', description: 'What makes the machine.' });

const limitMs = (limit: 'idleMs' | 'sleepMs' | 'lifetimeMs', description: string): z.ZodInt =>
  z.int().min(timeLimitsMinimum[limit]).max(timeLimitsMaximum[limit]).meta({ description });
const timeLimits = {
  idleMs: limitMs('idleMs', 'Without a turn, a command or a transfer; then the session is suspended.'),
  sleepMs: limitMs('sleepMs', 'Asleep; then the session is terminated.'),
  lifetimeMs: limitMs('lifetimeMs', 'From its creation; then the session is terminated.'),
};
export const timeLimitsSchema = z.object(timeLimits).meta({ id: 'TimeLimits' });

/** A session as callers see it. Times of the host's clock. */
export const sessionSchema = z
  .object({
    id: idSchema('session'),
    tenant: idSchema('tenant'),
    subject: z.string().meta({ description: 'Who created it.' }),
    labels: labelsSchema,
    grant: grantSchema,
    state: z.enum(sessionStates),
    version: z.int().meta({ description: 'One more with every change; the ETag.' }),
    size: sizeSchema,
    runtime: runtimeNameSchema,
    tier: tierSchema,
    minimumTier: tierSchema.meta({ description: 'It gets no machine that is weaker.' }),
    createdAt: timeSchema,
    activeAt: timeSchema.meta({ description: 'When the host last saw a turn, a command or a transfer of it.' }),
    endedAt: timeSchema.nullable(),
    turn: idSchema('turn').nullable().meta({ description: 'The turn that runs now.' }),
    turnCount: z.int(),
    parent: idSchema('session').nullable().meta({ description: 'The session that it was forked from.' }),
    epoch: z.int().meta({ description: 'Identities that its machine has been given.' }),
    timeLimits: timeLimitsSchema,
    launchMs: z.number().nullable().meta({ description: 'From the call of launch to the confirmed machine.' }),
    error: errorSchema.nullable().meta({ description: 'Why it failed.' }),
  })
  .meta({ id: 'Session' });
export type SessionResource = z.infer<typeof sessionSchema>;

export const sessionParams = z.object({ session: idSchema('session') });

const wait = z
  .enum(['ready', 'none'])
  .default('ready')
  .meta({ description: '`ready`: answer when the machine runs. `none`: answer at once; the state is `creating`.' });

export const createSessionBody = z
  .strictObject({
    size: sizeSchema.exactOptional(),
    runtime: z.union([z.literal('auto'), runtimeNameSchema]).default('auto'),
    minimumTier: tierSchema
      .exactOptional()
      .meta({ description: 'Refused where no machine of this tier or a stronger one can be had.' }),
    labels: labelsSchema.default({}),
    grant: grantSchema.default([]),
    timeLimits: z.strictObject(timeLimits).partial().exactOptional(),
    wait,
  })
  .meta({ id: 'CreateSession' });

export const updateSessionBody = z.strictObject({ labels: labelsSchema }).meta({ id: 'UpdateSession' });

export const listSessionsQuery = z.strictObject({
  ...pageQuery,
  state: z.enum(sessionStates).exactOptional(),
  subject: z.string().min(1).max(limits.subjectMaxLength).exactOptional(),
  ended: z.boolean().default(false).meta({ description: 'Those that have ended, too.' }),
  labelKey: labelKeySchema.exactOptional().meta({ description: 'Only those that have this label.' }),
  labelValue: labelValueSchema.exactOptional().meta({ description: 'Only with `labelKey`: and this value.' }),
});
export const sessionPage = pageOf(sessionSchema).meta({ id: 'SessionPage' });

export const forkSessionBody = z
  .strictObject({
    count: z.int().min(1).max(limits.forksMaxCount).default(1),
    grant: grantSchema
      .exactOptional()
      .meta({ description: 'A part of what the parent was granted; all of it when none is given.' }),
  })
  .meta({ id: 'ForkSession' });
export const forkedSessions = z.object({ sessions: z.array(sessionSchema) }).meta({ id: 'ForkedSessions' });

const checkpointName = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/);
export const checkpointParams = z.object({ session: idSchema('session'), checkpoint: checkpointName });
export const createCheckpointBody = z.strictObject({ name: checkpointName }).meta({ id: 'CreateCheckpoint' });
export const checkpointSchema = z
  .object({ id: idSchema('snapshot'), name: checkpointName, createdAt: timeSchema, bytes: z.int() })
  .meta({ id: 'Checkpoint' });
export type CheckpointResource = z.infer<typeof checkpointSchema>;
export const checkpointList = z.object({ items: z.array(checkpointSchema) }).meta({ id: 'CheckpointList' });
