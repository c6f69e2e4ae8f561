// What the shell does with one block, whoever typed it: a person or a pipe.

import { resolve } from 'node:path';
import {
  type BulkheadError,
  type ErrorCode,
  type ErrorJson,
  type Language,
  type TurnResult,
  errorEntry,
} from '@bulkhead/protocol';
import type { CommandSession, CommandTurn } from './backend.ts';
import { commandSpecs } from './command-specs.ts';
import { formatBytes } from './duration.ts';
import { jsonLine } from './output.ts';
import { reportError, toBulkheadError } from './report-error.ts';
import { type ShellInput, readBlock } from './shell-directive.ts';
import { terminalText } from './terminal-text.ts';
import { checkUpload, download, parseDownload, parseUpload, upload } from './transfer.ts';
import { turnDocument } from './turn-document.ts';
import { type TurnView, showSummary, showTurn } from './turn-view.ts';

export interface ShellOptions {
  readonly view: TurnView;
  readonly launch: (signal: AbortSignal) => Promise<CommandSession>;
  readonly json: boolean;
  readonly language: Language;
  readonly timeoutMs: number | undefined;
}

/** What came of a block: go on, the machine is gone, or the user wants to leave. */
export type BlockOutcome = { readonly exitCode: number; readonly next: 'go-on' | 'gone' | 'quit' };

export class ShellSession {
  language: Language;
  readonly #options: ShellOptions;
  #timeoutMs: number | undefined;
  #session: CommandSession | undefined;
  #turn: CommandTurn | undefined;

  constructor(options: ShellOptions) {
    this.#options = options;
    this.language = options.language;
    this.#timeoutMs = options.timeoutMs;
  }

  /** Errors: those of `launch`. */
  async open(signal: AbortSignal): Promise<void> {
    this.#session = await this.#options.launch(signal);
  }

  get session(): CommandSession {
    if (this.#session === undefined) throw new Error('The session of the shell is not open');
    return this.#session;
  }

  /** Whether a turn was running to be interrupted. */
  interruptTurn(): boolean {
    if (this.#turn === undefined || this.#turn.ended) return false;
    this.#turn.interrupt();
    return true;
  }

  /** Never rejects: what failed has been shown. */
  async execute(block: string, signal: AbortSignal): Promise<BlockOutcome> {
    try {
      const input = readBlock(block, this.language);
      if (input.kind === 'code') return await this.#runTurn(input.code, input.language);
      return await this.#direct(input, signal);
    } catch (error) {
      return await this.#failed(toBulkheadError(error));
    }
  }

  async #runTurn(code: string, language: Language): Promise<BlockOutcome> {
    const { view, json } = this.#options;
    const started = view.context.elapsedMs();
    const timeout = this.#timeoutMs === undefined ? {} : { timeoutMs: this.#timeoutMs };
    const turn = this.session.startTurn({ code, language, ...timeout });
    this.#turn = turn;
    let result: TurnResult;
    try {
      result = json ? await turn.result : await showTurn(view, turn);
    } finally {
      this.#turn = undefined;
    }
    const { info } = this.session;
    if (json) {
      const totalMs = view.context.elapsedMs() - started;
      await view.context.stdout.write(jsonLine(turnDocument({ info, result, error: undefined, totalMs })));
    } else await showSummary(view, { ...info, launchMs: null }, result, undefined);
    return { exitCode: exitCodeOf(result.error), next: result.context === 'gone' ? 'gone' : 'go-on' };
  }

  async #failed(error: BulkheadError): Promise<BlockOutcome> {
    const { view, json } = this.#options;
    if (json) {
      const info = this.#session?.info;
      await view.context.stdout.write(
        jsonLine(turnDocument({ info, result: undefined, error: error.toJSON(), totalMs: 0 })),
      );
    } else await reportError(view.context.stderr, error);
    const gone = goneCodes.has(error.code);
    return { exitCode: errorEntry(error.code).exitCode, next: gone ? 'gone' : 'go-on' };
  }

  async #direct(input: Exclude<ShellInput, { kind: 'code' }>, signal: AbortSignal): Promise<BlockOutcome> {
    const answer = await this.#answer(input, signal);
    const { view, json } = this.#options;
    const { stdout, stderr } = view.context;
    if (json) await stdout.write(jsonLine({ directive: input.kind, status: 'ok', lines: answer }));
    // What was asked for is output; that something was done is a remark.
    else if (['files', 'session', 'help'].includes(input.kind)) for (const line of answer) await stdout.line(line);
    else if (!view.quiet) for (const line of answer) await stderr.line(stderr.style('dim', line));
    return { exitCode: 0, next: input.kind === 'quit' ? 'quit' : 'go-on' };
  }

  async #answer(input: Exclude<ShellInput, { kind: 'code' }>, signal: AbortSignal): Promise<readonly string[]> {
    const { files, info } = this.session;
    const { workingDir } = this.#options.view.context;
    switch (input.kind) {
      case 'lang':
        this.language = input.language;
        return [`Code is ${input.language} from here on.`];
      case 'timeout':
        this.#timeoutMs = input.timeoutMs;
        return [`A turn may take ${input.timeoutMs} ms from here on.`];
      case 'restart':
        await this.session.restartContext(this.language);
        return [`A new ${this.language} interpreter; files are kept.`];
      case 'files': {
        const { entries, truncated } = await files.listFiles(input.path, { signal });
        const lines = entries.map(
          ({ name, kind, sizeBytes }) =>
            `${formatBytes(sizeBytes).padStart(12)}  ${terminalText(JSON.stringify(name).slice(1, -1))}${kind === 'directory' ? '/' : ''}`,
        );
        return truncated ? [...lines, '(and more)'] : lines;
      }
      case 'upload': {
        const parsed = parseUpload(input.local, workingDir);
        const transfer = input.guest === undefined ? parsed : { ...parsed, guest: input.guest };
        await checkUpload(transfer);
        const bytes = await upload(files, transfer, signal);
        return [`${formatBytes(bytes)} to ${transfer.guest}`];
      }
      case 'download': {
        const parsed = parseDownload(input.guest, workingDir);
        const transfer = input.local === undefined ? parsed : { ...parsed, local: resolve(workingDir, input.local) };
        const bytes = await download(files, transfer, signal);
        return [`${formatBytes(bytes)} to ${transfer.local}`];
      }
      case 'session':
        return [
          `session  ${info.id}`,
          `state    ${info.state}`,
          `size     ${info.size}`,
          `runtime  ${info.runtime}`,
          `tier     ${info.tier}`,
          ...(info.bootId === null ? [] : [`boot id  ${terminalText(info.bootId)}`]),
          `turns    ${info.turnCount}`,
        ];
      case 'help':
        return (commandSpecs.find(({ name }) => name === 'shell')?.description ?? '').split('\n');
      case 'quit':
        break;
    }
    return [];
  }
}

const goneCodes: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'session_ended',
  'machine_lost',
  'guest_protocol_violation',
  'guest_unresponsive',
]);

function exitCodeOf(error: ErrorJson | null): number {
  return error === null ? 0 : errorEntry(error.code).exitCode;
}
