// Commands about a kind of thing: `bulkhead session suspend ID`. What follows the command is a verb, and then what the verb takes.

import { BulkheadError } from '@bulkhead/protocol';
import type { Backend } from './backend.ts';
import type { CommandContext, CommandInput } from './command.ts';
import { nearest } from './nearest.ts';
import { openBackend } from './open-backend.ts';
import { jsonLine } from './output.ts';
import { formatRecord, formatTable } from './table.ts';

export interface VerbCall {
  readonly backend: Backend;
  readonly input: CommandInput;
  /** What follows the verb. */
  readonly args: readonly string[];
  readonly context: CommandContext;
  /** Aborted by the first interrupt. */
  readonly signal: AbortSignal;
}

export interface Verb {
  /** What has to follow it, and what may. */
  readonly takes: readonly [required: number, most: number];
  /** The same in words: `the id of a session`. */
  readonly wants: string;
  /** Looked at before anything is opened. Errors: `invalid_request`. */
  readonly check?: (args: readonly string[]) => void;
  /** The document that is printed. */
  readonly act: (call: VerbCall) => Promise<unknown>;
  /** The same for people, where it is not the document as it is: a list, a record, or text as it is to be printed. */
  readonly show?: (answer: unknown) => unknown;
  /** 0 unless said. */
  readonly exitCode?: (answer: unknown) => number;
}

export interface VerbCommand {
  readonly name: string;
  readonly verbs: Readonly<Record<string, Verb>>;
  /** Verbs that are told apart elsewhere. */
  readonly others?: readonly string[];
}

export async function runVerb(command: VerbCommand, context: CommandContext, input: CommandInput): Promise<number> {
  const [given = '', ...args] = input.positionals;
  const verb = Object.hasOwn(command.verbs, given) ? command.verbs[given] : undefined;
  if (verb === undefined) throw unknownVerb(command, given);
  const [required, most] = verb.takes;
  if (args.length < required || args.length > most) {
    throw new BulkheadError('invalid_request', `\`bulkhead ${command.name} ${given}\` takes ${verb.wants}.`, {
      hint: `\`bulkhead ${command.name} --help\` shows all of it.`,
    });
  }
  verb.check?.(args);
  const json = input.flag('json');
  await using backend = await openBackend(context, input, { quiet: input.flag('quiet') || json, keep: true });
  const stop = new AbortController();
  using _interrupts = context.interrupts.during(() => stop.abort());
  const answer = await verb.act({ backend, input, args, context, signal: stop.signal });
  return await printAnswer(verb, context, input, answer);
}

/** The exit code. */
export async function printAnswer(
  { show, exitCode }: Pick<Verb, 'show' | 'exitCode'>,
  { stdout }: CommandContext,
  input: CommandInput,
  answer: unknown,
): Promise<number> {
  if (input.flag('json')) await stdout.write(jsonLine(answer));
  else {
    const shown = show === undefined ? answer : show(answer);
    // Text may quote what a tenant or a guest wrote.
    if (typeof shown === 'string') await stdout.guest(shown);
    else await stdout.write(Array.isArray(shown) ? formatTable(shown) : formatRecord(shown));
  }
  return exitCode?.(answer) ?? 0;
}

function unknownVerb({ name, verbs, others = [] }: VerbCommand, given: string): BulkheadError {
  const known = [...Object.keys(verbs), ...others];
  const suggestion = nearest(given, known);
  const message =
    given === '' ? `What about ${name}s?` : `\`bulkhead ${name}\` does not take this: ${JSON.stringify(given)}.`;
  return new BulkheadError('invalid_request', message, {
    hint:
      suggestion === undefined
        ? `Say one of: ${known.join(', ')}.`
        : `Did you mean \`bulkhead ${name} ${suggestion}\`?`,
  });
}
