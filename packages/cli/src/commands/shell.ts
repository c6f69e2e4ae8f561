import { resolve } from 'node:path';
import { BulkheadError, errorEntry } from '@bulkhead/protocol';
import type { Backend, CommandSession } from '../backend.ts';
import { BlockReader } from '../block-reader.ts';
import type { CommandContext, CommandInput } from '../command.ts';
import { parseDurationMs } from '../duration.ts';
import { FigureFolder } from '../figures.ts';
import { configure } from '../local-session.ts';
import { openBackend } from '../open-backend.ts';
import { parseLanguage, parseSize } from '../parse-values.ts';
import { readLines } from '../read-lines.ts';
import { ShellSession } from '../shell-session.ts';
import type { TurnView } from '../turn-view.ts';

export async function shell(context: CommandContext, input: CommandInput): Promise<number> {
  if (input.positionals.length > 0) {
    throw new BulkheadError('invalid_request', 'The shell takes no code as an argument.', {
      hint: `\`bulkhead run 'CODE'\` does.`,
    });
  }
  const size = parseSize(input.text('size'));
  return await runShell(context, input, {
    keep: false,
    launch: (backend, signal) => backend.launchSession({ size }, signal),
  });
}

export interface ShellLaunch {
  /** Whether the session goes on, asleep, when the shell ends. */
  readonly keep: boolean;
  readonly launch: (backend: Backend, signal: AbortSignal) => Promise<CommandSession>;
}

/** A shell on a session: its exit code. */
export async function runShell(
  context: CommandContext,
  input: CommandInput,
  { keep, launch }: ShellLaunch,
): Promise<number> {
  const timeout = input.text('timeout');
  const language = parseLanguage(input.text('lang'));
  const timeoutMs = timeout === undefined ? undefined : parseDurationMs(timeout);
  const view = viewOf(context, input);
  const json = input.flag('json');

  const launching = new AbortController();
  await using backend = await openBackend(context, input, { quiet: view.quiet || json, keep });
  const session = new ShellSession({
    view,
    launch: (signal) => launch(backend, signal),
    json,
    language,
    timeoutMs,
  });
  {
    using _interrupts = context.interrupts.during(() => launching.abort());
    await session.open(launching.signal);
  }
  const exitCode =
    context.stdinIsTty && !json ? await atPrompt(context, session) : await fromPipe(context, input, session);
  return context.interrupts.ended.aborted ? errorEntry('cancelled').exitCode : exitCode;
}

function viewOf(context: CommandContext, input: CommandInput): TurnView {
  const folder = input.text('figures') ?? '.';
  const figures = folder === 'none' ? undefined : new FigureFolder(resolve(context.workingDir, folder));
  return { context, figures, quiet: input.flag('quiet'), sessionGoesOn: true };
}

async function atPrompt(context: CommandContext, session: ShellSession): Promise<number> {
  const [{ promptLoop }, { ShellHistory }] = await Promise.all([
    import('../shell-prompt.ts'),
    import('../shell-history.ts'),
  ]);
  const { stderr, interrupts } = context;
  const { tier } = session.session.info;
  await stderr.line(stderr.style('dim', `Session ${session.session.id} (${tier}). :help for help, Ctrl-D to end.`));
  const history = new ShellHistory(configure(context).stateDir);
  const { stdin: input, terminal: output } = context;
  return await promptLoop({ context, shell: session, history, input, output, signal: interrupts.ended });
}

async function fromPipe(context: CommandContext, input: CommandInput, session: ShellSession): Promise<number> {
  const blocks = new BlockReader(input.flag('lines') ? 'line' : 'blank-line', session.language);
  const { ended } = context.interrupts;
  const ending = new AbortController();
  // Ctrl-C stops the turn; when there is none, the shell.
  const onInterrupt = (): void => {
    if (!session.interruptTurn()) ending.abort();
  };
  const signal = AbortSignal.any([ended, ending.signal]);
  let lastFailure = 0;
  const run = async (ready: readonly string[]): Promise<boolean> => {
    for (const block of ready) {
      using _interrupts = context.interrupts.during(onInterrupt);
      const { exitCode, next } = await session.execute(block, signal);
      if (exitCode !== 0) lastFailure = exitCode;
      blocks.language = session.language;
      if (next === 'gone') await reportEnd(context);
      if (next !== 'go-on' || signal.aborted) return false;
    }
    return true;
  };
  using _interrupts = context.interrupts.during(onInterrupt);
  for await (const line of readLines(context.stdin, signal)) {
    if (!(await run(blocks.push(line)))) return ending.signal.aborted ? cancelledExitCode : lastFailure;
  }
  if (signal.aborted) return cancelledExitCode;
  await run(blocks.end());
  return lastFailure;
}

async function reportEnd({ stderr }: CommandContext): Promise<void> {
  await stderr.line(stderr.style('dim', 'The session is gone; what was left of the input was not run.'));
}

const cancelledExitCode = errorEntry('cancelled').exitCode;
