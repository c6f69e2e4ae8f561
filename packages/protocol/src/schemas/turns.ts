import { z } from 'zod';
import { idSchema } from '../ids.ts';
import { limits } from '../limits.ts';
import { type TurnEvent, type TurnResult, contextFates, languages } from '../turns.ts';
import { errorSchema, pageOf, pageQuery, timeSchema } from './common.ts';

export const languageSchema = z.enum(languages).meta({ id: 'Language' });
const contextName = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/);

const mimeBundle = z.record(z.string(), z.unknown()).meta({
  id: 'MimeBundle',
  description: 'A result in every form that the interpreter offered. Binary forms are base64.',
});
const exception = z
  .object({
    name: z.string(),
    value: z.string(),
    frames: z.array(
      z.object({ file: z.string(), line: z.int(), name: z.string(), source: z.string().exactOptional() }),
    ),
    traceback: z.string(),
  })
  .meta({
    id: 'GuestException',
    description: 'What the code raised. Every string is the guest’s: escape it before showing it.',
  });
const fate = z.enum(contextFates).meta({
  description: '`kept`: variables live. `lost`: a new interpreter starts with the next turn. `gone`: no machine.',
});
const status = z.enum(['ok', 'error']);

const outcome = z.object({
  status,
  error: errorSchema.nullable(),
  exception: exception.nullable(),
  context: fate,
  guestMs: z.number(),
  turnMs: z.number(),
});

const seq = z.int().min(1).meta({ description: 'The id of the event: 1 for the first of a turn, then one more each.' });
export const turnEventSchema: z.ZodType<TurnEvent> = z
  .discriminatedUnion('type', [
    z.object({ seq, type: z.enum(['stdout', 'stderr']), text: z.string() }),
    z.object({ seq, type: z.enum(['result', 'display']), data: mimeBundle }),
    z.object({ seq, type: z.literal('exception'), exception }),
    z.object({
      seq,
      type: z.literal('truncated'),
      stream: z.enum(['stdout', 'stderr', 'results', 'events']),
      droppedBytes: z.number(),
      exact: z.boolean(),
    }),
    z.object({ seq, type: z.literal('end'), outcome }),
  ])
  .meta({ id: 'TurnEvent' });

export const turnResultSchema: z.ZodType<TurnResult> = z
  .object({
    sessionId: idSchema('session'),
    turnId: idSchema('turn'),
    status,
    stdout: z.string(),
    stderr: z.string(),
    results: z.array(mimeBundle),
    error: errorSchema.nullable(),
    exception: exception.nullable(),
    context: fate,
    truncated: z.object({ stdoutBytes: z.number(), stderrBytes: z.number(), resultBytes: z.number() }),
    timings: z.object({ turnMs: z.number(), guestMs: z.number() }),
  })
  .meta({ id: 'TurnResult' });

export const turnSchema = z
  .object({
    id: idSchema('turn'),
    session: idSchema('session'),
    state: z.enum(['running', 'ended']),
    startedAt: timeSchema,
    endedAt: timeSchema.nullable(),
    result: turnResultSchema.nullable().meta({ description: 'Null while it runs, and in lists.' }),
  })
  .meta({ id: 'Turn' });
export type TurnResource = z.infer<typeof turnSchema>;

export const turnParams = z.object({ session: idSchema('session'), turn: idSchema('turn') });

export const startTurnBody = z
  .strictObject({
    code: z.string().max(limits.codeMaxBytes),
    language: languageSchema.default('python'),
    context: contextName.default('default').meta({ description: 'A named context of that language.' }),
    timeoutMs: z.int().min(1).max(limits.turnTimeoutMaxMs).default(limits.turnTimeoutDefaultMs),
    wait: z.enum(['end', 'none']).default('end').meta({
      description:
        '`end`: answer with the result, or with the events as they come where `Accept` is `text/event-stream`. `none`: answer at once.',
    }),
  })
  .meta({ id: 'StartTurn' });

export const turnEventsQuery = z.strictObject({
  after: z
    .int()
    .min(0)
    .max(Number.MAX_SAFE_INTEGER)
    .default(0)
    .meta({ description: 'Events after this one. `Last-Event-ID` wins.' }),
  limit: z
    .int()
    .min(1)
    .max(limits.eventPageMaxCount)
    .default(limits.eventPageMaxCount)
    .meta({ description: 'Of a page in JSON.' }),
});
export const turnEventPage = z
  .object({
    items: z.array(turnEventSchema),
    ended: z.boolean().meta({ description: 'The turn has ended and `items` has its last event.' }),
  })
  .meta({ id: 'TurnEventPage' });
export const listTurnsQuery = z.strictObject(pageQuery);
export const turnPage = pageOf(turnSchema).meta({ id: 'TurnPage' });

export const contextSchema = z
  .object({ language: languageSchema, context: z.string(), alive: z.boolean(), busy: z.boolean() })
  .meta({ id: 'Context' });
export const contextList = z.object({ items: z.array(contextSchema) }).meta({ id: 'ContextList' });
export const restartContextBody = z
  .strictObject({ language: languageSchema, context: contextName.default('default') })
  .meta({ id: 'RestartContext' });
