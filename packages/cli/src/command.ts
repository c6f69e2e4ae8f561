// A command is data (what it is called, what it takes, what its help says) and one function that is loaded when it is needed.

import type { Readable, Writable } from 'node:stream';
import type { Interrupts } from './interrupts.ts';
import type { Output } from './output.ts';

export interface CommandContext {
  readonly stdin: Readable;
  readonly stdinIsTty: boolean;
  readonly stdout: Output;
  readonly stderr: Output;
  /** Where a prompt is drawn. */
  readonly terminal: Writable;
  readonly interrupts: Interrupts;
  /** Since the process started. */
  readonly elapsedMs: () => number;
  readonly workingDir: string;
}

export interface OptionSpec {
  readonly type: 'string' | 'boolean';
  readonly short?: string;
  readonly multiple?: boolean;
  /** What stands for the value in the help. */
  readonly value?: string;
  readonly help: string;
}

export interface CommandSpec {
  readonly name: string;
  /** How it is written, without `bulkhead`. */
  readonly usage: string;
  readonly summary: string;
  readonly options: Readonly<Record<string, OptionSpec>>;
  /** Prose that teaches: what it does, what to expect. */
  readonly description: string;
  readonly examples: readonly (readonly [command: string, what: string])[];
}

export interface CommandInput {
  readonly positionals: readonly string[];
  flag(name: string): boolean;
  text(name: string): string | undefined;
  texts(name: string): readonly string[];
}

/** The command's exit code. What it throws is printed by its caller, and the exit code is the error's. */
export type CommandFunction = (context: CommandContext, input: CommandInput) => Promise<number>;
