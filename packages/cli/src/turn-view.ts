// A turn as people see it: output as it comes, results as text, figures as files, tracebacks and notes on stderr.

import type { MimeBundle, TurnEvent, TurnResult } from '@bulkhead/protocol';
import type { CommandTurn, SessionInfo } from './backend.ts';
import type { CommandContext } from './command.ts';
import { formatBytes, formatDuration } from './duration.ts';
import type { FigureFolder } from './figures.ts';
import { reportError } from './report-error.ts';

export interface TurnView {
  readonly context: CommandContext;
  /** Undefined: figures are not saved. */
  readonly figures: FigureFolder | undefined;
  readonly quiet: boolean;
  /** Whether what is left of the session matters to whoever looks. */
  readonly sessionGoesOn: boolean;
}

/** Shows a turn as it goes on, up to its end. */
export async function showTurn(view: TurnView, turn: CommandTurn): Promise<TurnResult> {
  for await (const event of turn.events()) await showEvent(view, event);
  const result = await turn.result;
  // A traceback has told everything there is to say.
  if (result.error !== null && !(result.error.code === 'turn_failed' && result.exception !== null)) {
    const { code, message } = result.error;
    await reportError(view.context.stderr, view.sessionGoesOn ? result.error : { code, message });
  }
  return result;
}

async function showEvent(view: TurnView, event: TurnEvent): Promise<void> {
  const { stdout, stderr } = view.context;
  switch (event.type) {
    case 'stdout':
      await stdout.guest(event.text);
      break;
    case 'stderr':
      await stderr.guest(event.text);
      break;
    case 'result':
    case 'display':
      await showBundle(view, event.data);
      break;
    case 'exception':
      await stdout.freshLine();
      await stderr.freshLine();
      await stderr.guest(event.exception.traceback);
      await stderr.freshLine();
      break;
    case 'truncated': {
      const least = event.exact ? '' : 'at least ';
      await note(view, `${least}${formatBytes(event.droppedBytes)} of ${event.stream} were dropped`);
      break;
    }
    case 'end':
      await stdout.freshLineOnTty();
      break;
  }
}

async function showBundle(view: TurnView, bundle: MimeBundle): Promise<void> {
  const saved = await view.figures?.save(bundle);
  if (saved !== undefined) {
    await note(view, `figure saved to ${saved}`);
    return;
  }
  const text = bundle['text/plain'] ?? bundle['text/markdown'];
  const { stdout } = view.context;
  if (typeof text === 'string') {
    await stdout.freshLine();
    await stdout.guest(text);
    await stdout.freshLine();
  } else {
    await note(
      view,
      `a result of ${Object.keys(bundle)
        .map((mime) => JSON.stringify(mime))
        .join(', ')}; --json shows it`,
    );
  }
}

async function note({ context: { stderr }, quiet }: TurnView, text: string): Promise<void> {
  if (quiet) return;
  await stderr.freshLine();
  await stderr.guest(`[${text}]\n`);
}

/** The last line: where it ran and how long it took. On a terminal only. */
export async function showSummary(
  view: TurnView,
  { tier, launchMs }: Pick<SessionInfo, 'tier' | 'launchMs'>,
  result: TurnResult | undefined,
  totalMs: number | undefined,
): Promise<void> {
  const { stderr } = view.context;
  if (view.quiet || !stderr.isTty) return;
  const parts = [
    tier,
    ...(launchMs === null ? [] : [`launch ${formatDuration(launchMs)}`]),
    ...(result === undefined ? [] : [`turn ${formatDuration(result.timings.turnMs)}`]),
    ...(totalMs === undefined ? [] : [`total ${formatDuration(totalMs)}`]),
  ];
  await stderr.freshLine();
  await stderr.line(stderr.style('dim', parts.join(' · ')));
}
