// The shell with a person in front of it.

import { type Interface, createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { BulkheadError } from '@bulkhead/protocol';
import { BlockReader } from './block-reader.ts';
import type { CommandContext } from './command.ts';
import { reportError, toBulkheadError } from './report-error.ts';
import type { ShellHistory } from './shell-history.ts';
import type { ShellSession } from './shell-session.ts';

export interface PromptOptions {
  readonly context: CommandContext;
  readonly shell: ShellSession;
  readonly history: ShellHistory;
  readonly input: Readable;
  readonly output: Writable;
  readonly signal: AbortSignal;
}

/** Ends at Ctrl-D, `:quit`, or `signal`. */
export async function promptLoop(options: PromptOptions): Promise<number> {
  const { context, shell, history, input, output, signal } = options;
  const newestFirst = await history.load();
  const readline = createInterface({
    input,
    output,
    terminal: true,
    history: newestFirst,
    historySize: 1000,
    removeHistoryDuplicates: true,
  });
  let kept: readonly string[] = newestFirst;
  readline.on('history', (lines: string[]) => {
    kept = [...lines];
  });
  const onAbort = (): void => readline.close();
  signal.addEventListener('abort', onAbort, { once: true });
  // A signal from elsewhere: at the prompt, Ctrl-C is a key.
  using _interrupts = context.interrupts.during(() => void shell.interruptTurn());
  try {
    return await converse(options, readline);
  } finally {
    signal.removeEventListener('abort', onAbort);
    readline.close();
    await history.save(kept).catch(async (error: unknown) => {
      const reason = toBulkheadError(error).message;
      await reportError(context.stderr, { code: 'file_error', message: `The history was not saved: ${reason}` });
    });
    await context.stderr.freshLine();
    shell.interruptTurn();
  }
}

async function converse(options: PromptOptions, readline: Interface): Promise<number> {
  const { context, shell, signal } = options;
  const blocks = new BlockReader('prompt', shell.language);
  const lines = new LineQueue(readline, () => {
    if (shell.interruptTurn()) return;
    blocks.reset();
    // A new, empty line: what was typed is given up.
    readline.write(null, { ctrl: true, name: 'e' });
    readline.write(null, { ctrl: true, name: 'u' });
    void context.stdout.write('\n').then(() => lines.prompt());
  });
  for (;;) {
    blocks.language = shell.language;
    const mark = { python: '>>> ', javascript: 'js> ', bash: 'sh$ ' }[shell.language];
    lines.prompt(blocks.pending ? '... ' : mark);
    const line = await lines.next();
    if (line === undefined || signal.aborted) return 0;
    for (const block of blocks.push(line)) {
      const { next } = await shell.execute(block, signal);
      if (next === 'quit' || signal.aborted) return 0;
      if (next === 'gone') await reopen(options);
    }
  }
}

async function reopen({ context, shell, signal }: PromptOptions): Promise<void> {
  if (signal.aborted) throw new BulkheadError('cancelled', 'Stopped by a signal.');
  await context.stderr.line('The session is gone, with its variables and files. Here is a new one.');
  await shell.open(signal);
}

/** Lines as they are asked for: what is typed during a turn waits. */
class LineQueue {
  readonly #readline: Interface;
  readonly #lines: string[] = [];
  #closed = false;
  #waiting: ((line: string | undefined) => void) | undefined;

  constructor(readline: Interface, onInterrupt: () => void) {
    this.#readline = readline;
    readline.on('line', (line) => {
      const waiting = this.#waiting;
      this.#waiting = undefined;
      if (waiting === undefined) this.#lines.push(line);
      else waiting(line);
    });
    readline.on('close', () => {
      this.#closed = true;
      this.#waiting?.(undefined);
      this.#waiting = undefined;
    });
    readline.on('SIGINT', onInterrupt);
  }

  /** Ctrl-D may have come during a turn: then there is nobody to prompt, and what was typed before is still to be run. */
  prompt(mark?: string): void {
    if (this.#closed) return;
    if (mark !== undefined) this.#readline.setPrompt(mark);
    this.#readline.prompt();
  }

  async next(): Promise<string | undefined> {
    const line = this.#lines.shift();
    if (line !== undefined || this.#closed) return line;
    return await new Promise((resolve) => {
      this.#waiting = resolve;
    });
  }
}
