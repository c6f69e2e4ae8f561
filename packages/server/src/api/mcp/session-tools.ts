// Tools for sessions as a whole.

import { idSchema, labelsSchema, limits, routes, sessionStates, sizeNames, tiers } from '@bulkhead/protocol';
import { z } from 'zod';
import { given } from '../../lib/given.ts';
import type { SessionRecord } from '../../sessions/session-record.ts';
import { mcpLimits } from './mcp-limits.ts';
import { errorOutput } from './tool-error.ts';
import { type Tool, callOf, defineTool, readOnly } from './tool.ts';

const sessionId = idSchema('session').describe('Id of a session, ses_….');

const sessionOutput = z.object({
  session: idSchema('session'),
  state: z.enum(sessionStates),
  size: z.enum(sizeNames),
  tier: z.enum(tiers).describe('How strong the wall around the machine is.'),
  labels: labelsSchema,
  parent: idSchema('session').nullable().describe('The session it was forked from.'),
  createdAt: z.string(),
  activeAt: z.string(),
  endedAt: z.string().nullable(),
  turnCount: z.int(),
  timeLimits: routes.getSession.answer.shape.timeLimits,
  error: errorOutput.nullable(),
});
type SessionOutput = z.infer<typeof sessionOutput>;

function toOutput(record: SessionRecord): SessionOutput {
  const { id, state, size, tier, labels, parent, turnCount, timeLimits, error } = record;
  return {
    session: id,
    state,
    size,
    tier,
    labels,
    parent,
    createdAt: time(record.createdAtUnixMs),
    activeAt: time(record.activeAtUnixMs),
    endedAt: record.endedAtUnixMs === null ? null : time(record.endedAtUnixMs),
    turnCount,
    timeLimits,
    error: error === null ? null : errorOutput.parse(error),
  };
}

function told(
  record: SessionRecord,
  words: string,
): { content: { type: 'text'; text: string }[]; output: SessionOutput } {
  const output = toOutput(record);
  return { content: [{ type: 'text', text: `${words}\n${JSON.stringify(output)}` }], output };
}

const { size, minimumTier, labels, grant } = routes.createSession.body.shape;
const { idleMs, sleepMs, lifetimeMs } = routes.getSession.answer.shape.timeLimits.shape;
const timeLimits = z
  .strictObject({
    idleMs: idleMs.exactOptional(),
    sleepMs: sleepMs.exactOptional(),
    lifetimeMs: lifetimeMs.exactOptional(),
  })
  .exactOptional();

function time(unixMs: number): string {
  return new Date(unixMs).toISOString();
}

export const sessionTools: readonly Tool[] = [
  defineTool({
    name: 'create_session',
    title: 'Create a session',
    description:
      'Starts a virtual machine of its own (Python, Node, bash; no network) and answers with its id. Variables, files and processes in it live from call to call, and after this connection, until it is terminated or its time limits end it. Not needed for a single line of work: run_code without a session has one.',
    scope: 'sessions:write',
    input: z.strictObject({ size, minimumTier, labels, grant, timeLimits }),
    output: sessionOutput,
    hints: { readOnlyHint: false, destructiveHint: false, idempotentHint: false, openWorldHint: false },
    call: async (context, request) => {
      const record = await context.sessions.create(context.caller, request, callOf(context));
      return told(record, `Session ${record.id} is ${record.state}.`);
    },
  }),
  defineTool({
    name: 'list_sessions',
    title: 'List sessions',
    description:
      'The sessions that you may use, newest first. Those that have ended are left out, unless a state is asked for.',
    scope: 'sessions:read',
    input: z.strictObject({
      state: z.enum(sessionStates).exactOptional().describe('Only those in this state.'),
      limit: z.int().min(1).max(mcpLimits.pageMaxCount).default(20),
      cursor: routes.listSessions.query.shape.cursor.describe('nextCursor of the page before.'),
    }),
    output: z.object({ sessions: z.array(sessionOutput), nextCursor: z.string().nullable() }),
    hints: readOnly,
    call: async ({ sessions, caller }, { state, limit, cursor }) => {
      const states =
        state === undefined ? sessionStates.filter((each) => each !== 'terminated' && each !== 'failed') : [state];
      const page = await sessions.list(caller, { states }, given({ limit, cursor }));
      const output = { sessions: page.items.map(toOutput), nextCursor: page.nextCursor };
      const lines = page.items.map(({ id, state: now, size: name, createdAtUnixMs }) =>
        [id, now, name, `created ${time(createdAtUnixMs)}`].join('  '),
      );
      const more = page.nextCursor === null ? [] : [`There are more: cursor ${page.nextCursor}`];
      return {
        content: [{ type: 'text', text: lines.length === 0 ? 'No sessions.' : [...lines, ...more].join('\n') }],
        output,
      };
    },
  }),
  defineTool({
    name: 'get_session',
    title: 'Look at a session',
    description: 'State, size, limits and labels of one session.',
    scope: 'sessions:read',
    input: z.strictObject({ session: sessionId }),
    output: sessionOutput,
    hints: readOnly,
    call: async ({ sessions, caller }, { session }) => {
      const record = await sessions.get(caller, session);
      return told(record, `Session ${session} is ${record.state}.`);
    },
  }),
  defineTool({
    name: 'suspend_session',
    title: 'Suspend a session',
    description:
      'Puts a session to sleep: memory, processes and files are written out and kept, and take no machine. The next call that needs it wakes it where it was.',
    scope: 'sessions:write',
    input: z.strictObject({ session: sessionId }),
    output: sessionOutput,
    hints: { readOnlyHint: false, destructiveHint: false, idempotentHint: true, openWorldHint: false },
    call: async ({ sessions, caller }, { session }) =>
      told(await sessions.suspend(caller, session), `Session ${session} sleeps.`),
  }),
  defineTool({
    name: 'resume_session',
    title: 'Resume a session',
    description: 'Wakes a session that sleeps. Other tools do so by themselves; this makes the next call quicker.',
    scope: 'sessions:write',
    input: z.strictObject({ session: sessionId }),
    output: sessionOutput,
    hints: { readOnlyHint: false, destructiveHint: false, idempotentHint: true, openWorldHint: false },
    call: async (context, { session }) =>
      told(await context.sessions.resume(context.caller, session, callOf(context)), `Session ${session} is awake.`),
  }),
  defineTool({
    name: 'fork_session',
    title: 'Fork a session',
    description:
      'Makes new sessions that begin as copies of one: the same variables, files and processes, from then on apart. For trying several ways from one point. The original goes on.',
    scope: 'sessions:write',
    input: z.strictObject({
      session: sessionId,
      count: z.int().min(1).max(Math.min(mcpLimits.forksMaxCount, limits.forksMaxCount)).default(1),
    }),
    output: z.object({ sessions: z.array(sessionOutput) }),
    hints: { readOnlyHint: false, destructiveHint: false, idempotentHint: false, openWorldHint: false },
    call: async (context, { session, count }) => {
      const forks = await context.sessions.fork(context.caller, session, count, callOf(context));
      const text = `New sessions, copies of ${session}: ${forks.map(({ id }) => id).join(', ')}`;
      return { content: [{ type: 'text', text }], output: { sessions: forks.map(toOutput) } };
    },
  }),
  defineTool({
    name: 'terminate_session',
    title: 'Terminate a session',
    description:
      'Ends a session for good: its machine, variables and files are destroyed. A second time changes nothing.',
    scope: 'sessions:write',
    input: z.strictObject({ session: sessionId }),
    output: sessionOutput,
    hints: { readOnlyHint: false, destructiveHint: true, idempotentHint: true, openWorldHint: false },
    call: async ({ sessions, caller }, { session }) =>
      told(await sessions.terminate(caller, session), `Session ${session} has ended.`),
  }),
];
