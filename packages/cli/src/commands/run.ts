import { type ErrorJson, type SessionId, type TurnResult, errorEntry } from '@bulkhead/protocol';
import { resolve } from 'node:path';
import type { CommandSession, SessionInfo } from '../backend.ts';
import type { CommandContext, CommandInput } from '../command.ts';
import { formatBytes, parseDurationMs } from '../duration.ts';
import { FigureFolder } from '../figures.ts';
import { openBackend } from '../open-backend.ts';
import { jsonLine } from '../output.ts';
import { parseLanguage, parseSessionId, parseSize } from '../parse-values.ts';
import { readCode } from '../read-code.ts';
import { reportError, toBulkheadError } from '../report-error.ts';
import { type Transfer, checkUpload, download, parseDownload, parseUpload, upload } from '../transfer.ts';
import { turnDocument } from '../turn-document.ts';
import { type TurnView, showSummary, showTurn } from '../turn-view.ts';

interface RunPlan {
  readonly code: string;
  readonly language: ReturnType<typeof parseLanguage>;
  readonly timeoutMs: number | undefined;
  readonly size: ReturnType<typeof parseSize>;
  /** One that is kept, instead of a new one. */
  readonly session: SessionId | undefined;
  readonly uploads: readonly Transfer[];
  readonly downloads: readonly Transfer[];
  readonly json: boolean;
  readonly quiet: boolean;
}

/** What is known so far: whatever fails, this much can be told. */
interface Progress {
  info?: SessionInfo;
  result?: TurnResult;
  error?: ErrorJson;
}

export async function run(context: CommandContext, input: CommandInput): Promise<number> {
  const stop = new AbortController();
  using _interrupts = context.interrupts.during(() => stop.abort());
  const signal = AbortSignal.any([stop.signal, context.interrupts.ended]);
  const plan = await planRun(context, input, signal);
  const view = viewOf(context, input, plan);
  const progress: Progress = {};
  try {
    await carryOut(plan, { view, input }, progress, signal);
  } catch (error) {
    const failure = toBulkheadError(error);
    progress.error = failure.toJSON();
    if (!plan.json) await reportError(context.stderr, failure);
  }
  const totalMs = context.elapsedMs();
  const { info, result } = progress;
  if (plan.json) {
    await context.stdout.write(jsonLine(turnDocument({ info, result, error: progress.error, totalMs })));
  } else if (info !== undefined) await showSummary(view, info, result, totalMs);
  if (context.interrupts.ended.aborted) return errorEntry('cancelled').exitCode;
  const error = result?.error ?? progress.error;
  return error === undefined || error === null ? 0 : errorEntry(error.code).exitCode;
}

/** Everything that can be wrong with the command line, before anything is launched. */
async function planRun(context: CommandContext, input: CommandInput, signal: AbortSignal): Promise<RunPlan> {
  const timeout = input.text('timeout');
  const session = input.text('session');
  const plan = {
    session: session === undefined ? undefined : parseSessionId(session),
    language: parseLanguage(input.text('lang')),
    timeoutMs: timeout === undefined ? undefined : parseDurationMs(timeout),
    size: parseSize(input.text('size')),
    uploads: input.texts('file').map((text) => parseUpload(text, context.workingDir)),
    downloads: input.texts('out').map((text) => parseDownload(text, context.workingDir)),
    json: input.flag('json'),
    quiet: input.flag('quiet'),
  };
  for (const transfer of plan.uploads) await checkUpload(transfer);
  return { ...plan, code: await readCode(context, input, signal) };
}

function viewOf(context: CommandContext, input: CommandInput, { quiet, session }: RunPlan): TurnView {
  const folder = input.text('figures') ?? '.';
  const figures = folder === 'none' ? undefined : new FigureFolder(resolve(context.workingDir, folder));
  return { context, quiet, figures, sessionGoesOn: session !== undefined };
}

/** Returns when the session and everything it had is gone; or, when it is kept, asleep. */
async function carryOut(
  plan: RunPlan,
  { view, input }: { readonly view: TurnView; readonly input: CommandInput },
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  const { session: kept } = plan;
  await using backend = await openBackend(view.context, input, { quiet: plan.quiet, keep: kept !== undefined });
  const session = await (kept === undefined
    ? backend.launchSession({ size: plan.size }, signal)
    : backend.openSession(kept, signal));
  progress.info = session.info;
  for (const transfer of plan.uploads) await upload(session.files, transfer, signal);
  const { code, language, timeoutMs } = plan;
  const request = { code, language, ...(timeoutMs === undefined ? {} : { timeoutMs }) };
  const turn = session.startTurn(request, { signal });
  progress.result = plan.json ? await turn.result : await showTurn(view, turn);
  progress.info = session.info;
  if (progress.result.context !== 'gone' && !signal.aborted) await fetchOutputs(plan, view, session, signal);
}

async function fetchOutputs(
  plan: RunPlan,
  view: TurnView,
  session: CommandSession,
  signal: AbortSignal,
): Promise<void> {
  const { stderr } = view.context;
  for (const transfer of plan.downloads) {
    const bytes = await download(session.files, transfer, signal);
    if (!plan.json && !plan.quiet) await stderr.line(`[${transfer.local}: ${formatBytes(bytes)}]`);
  }
}
