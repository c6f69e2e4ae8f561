// Tools that run something in a session.

import { type CommandResult, idSchema, routes } from '@bulkhead/protocol';
import { z } from 'zod';
import type { Turn } from '../../sessions/turn.ts';
import { CommandRun } from '../command-run.ts';
import { mcpLimits } from './mcp-limits.ts';
import type { FoundSession } from './own-session.ts';
import { makeMark, programText, shorten, withoutControls } from './program-text.ts';
import { type Tool, type ToolContext, callOf, defineTool } from './tool.ts';
import { turnAnswer, turnOutput } from './turn-content.ts';

export const sessionOrOwn = idSchema('session')
  .exactOptional()
  .describe(
    "Id of a session. Without it: this connection's own, made with the first call and ended with the connection.",
  );

export async function findSession(
  context: ToolContext,
  session: FoundSession['id'] | undefined,
): Promise<FoundSession> {
  return session === undefined ? await context.ownSession.find(callOf(context).onProgress) : { id: session };
}

const { code, language, context: contextName, timeoutMs } = routes.startTurn.body.shape;
const command = routes.runCommand.body.shape;
const runs = { readOnlyHint: false, destructiveHint: true, idempotentHint: false, openWorldHint: false };

export const runTools: readonly Tool[] = [
  defineTool({
    name: 'run_code',
    title: 'Run code',
    description: `Runs Python, JavaScript or bash in an isolated virtual machine and answers with stdout, stderr, the value of the last expression, figures as images and data frames as tables. State persists between calls in one session: variables, imports and functions of each language (for bash the directory and shell variables), and files. numpy, pandas and matplotlib are there; there is no network. An exception ends the call, not the session.`,
    scope: 'sessions:write',
    input: z.strictObject({
      code: code
        .max(mcpLimits.messageMaxBytes)
        .describe('The code. The value of a last expression is a result; open figures are shown at the end.'),
      language,
      session: sessionOrOwn,
      context: contextName.describe('A named interpreter of that language, with variables of its own.'),
      timeoutMs: timeoutMs.describe('The code is interrupted after so long.'),
    }),
    output: turnOutput,
    hints: runs,
    call: async (context, { session, ...request }) => {
      const { id, note } = await findSession(context, session);
      const { caller, sessions, signal, turnOrder } = context;
      const result = await turnOrder.run(id, signal, async () => {
        const turn = await sessions.startTurn(caller, id, request);
        return await follow(turn, context);
      });
      const { content, output } = turnAnswer(result, note);
      return { content: [...content], output, isError: result.status === 'error' };
    },
  }),
  defineTool({
    name: 'run_command',
    title: 'Run a command',
    description:
      'Runs one program to its end, with arguments and input, beside whatever runs in the session. Files persist; nothing else of it does. No shell is between: for a shell line use run_code with language bash.',
    scope: 'sessions:write',
    input: z.strictObject({
      argv: command.argv.describe('The program and its arguments, for example ["python3", "-V"].'),
      session: sessionOrOwn,
      cwd: command.cwd.describe('The directory; /home/user unless said.'),
      env: command.env.describe('Variables beside those that it has.'),
      stdin: command.stdin.describe('What it reads as standard input.'),
      stdinEncoding: command.stdinEncoding.describe('How stdin is written.'),
      timeoutMs: command.timeoutMs.describe('The program is ended after so long.'),
    }),
    output: z.object({
      session: idSchema('session'),
      exitCode: z.int().nullable(),
      signal: z.int().nullable(),
      timedOut: z.boolean(),
      stdout: z.string(),
      stderr: z.string(),
      leftOut: z.object({ stdoutBytes: z.number(), stderrBytes: z.number() }),
      elapsedMs: z.number(),
    }),
    hints: runs,
    call: async (context, { session, ...request }) => {
      const { id, note } = await findSession(context, session);
      const guest = await context.sessions.guest(context.caller, id, callOf(context));
      const ended = await followCommand(CommandRun.start(guest, request, context), context);
      const stdout = shorten(ended.stdout, mcpLimits.stdoutMaxLength);
      const stderr = shorten(ended.stderr, mcpLimits.stderrMaxLength, 0.3);
      const leftOut = {
        stdoutBytes: stdout.leftOutBytes + ended.truncated.stdoutBytes,
        stderrBytes: stderr.leftOutBytes + ended.truncated.stderrBytes,
      };
      const { exitCode, signal, timedOut } = ended;
      const how = timedOut
        ? `ended: it took longer than ${request.timeoutMs} ms`
        : signal === null
          ? `exit code ${exitCode}`
          : `ended by signal ${signal}`;
      const missing = Object.values(leftOut).some((bytes) => bytes > 0)
        ? `Left out of this answer: ${leftOut.stdoutBytes} bytes of stdout, ${leftOut.stderrBytes} bytes of stderr.`
        : undefined;
      const mark = makeMark();
      const texts = [
        [`${how} (session ${id}).`, note, missing].filter((text) => text !== undefined).join('\n'),
        ...(stdout.text === '' ? [] : [programText('stdout', stdout.text, mark)]),
        ...(stderr.text === '' ? [] : [programText('stderr', stderr.text, mark)]),
      ];
      return {
        content: texts.map((text) => ({ type: 'text' as const, text })),
        output: {
          session: id,
          exitCode,
          signal,
          timedOut,
          stdout: withoutControls(stdout.text),
          stderr: withoutControls(stderr.text),
          leftOut,
          elapsedMs: Math.round(ended.elapsedMs),
        },
        isError: timedOut,
      };
    },
  }),
];

/** The result; a call that is cancelled interrupts the turn, and what it prints meanwhile is told to whoever wants to know. */
async function follow(turn: Turn, { signal, progress }: ToolContext): ReturnType<() => Turn['result']> {
  const interrupt = (): void => turn.interrupt();
  signal.addEventListener('abort', interrupt, { once: true });
  if (signal.aborted) interrupt();
  const telling = tellOutput(turn, signal, progress);
  try {
    return await turn.result;
  } finally {
    signal.removeEventListener('abort', interrupt);
    await telling;
  }
}

async function tellOutput(turn: Turn, signal: AbortSignal, progress: ToolContext['progress']): Promise<void> {
  if (!progress.isWanted) return;
  try {
    for await (const event of turn.events(0, { signal })) {
      if (event.type === 'stdout' || event.type === 'stderr') progress.printed(event.text);
    }
  } catch {
    // Nobody listens any more; the result tells how the turn ended.
  }
}

/** A call that is cancelled kills the command. */
async function followCommand(run: CommandRun, { progress }: ToolContext): Promise<CommandResult> {
  if (progress.isWanted) {
    // The reader of its own result only adds what is told meanwhile.
    for await (const event of run.events()) if (event.type !== 'end') progress.printed(event.text);
  }
  return await run.result;
}
