// The programs that a fake guest knows: `echo`, `true`, `false`, and in the background `sleep`, which goes on until it is killed.

import { BulkheadError, limits } from '@bulkhead/protocol';
import type { BackgroundProcess } from '../../guest/guest.ts';

/** What a program prints and ends with, at once. */
export function runFakeProgram([command = '', ...rest]: readonly string[]): {
  readonly bytes: Uint8Array;
  readonly exitCode: number;
} {
  const bytes = new TextEncoder().encode(command === 'echo' ? `${rest.join(' ')}\n` : '');
  return { bytes, exitCode: command === 'echo' || command === 'true' ? 0 : command === 'false' ? 1 : 127 };
}

interface FakeProcess {
  readonly argv: readonly string[];
  readonly bytes: Uint8Array;
  exitCode: number | null;
  signal: number | null;
}

const killed = 9;

export class FakeProcesses {
  readonly #processes = new Map<string, FakeProcess>();

  start(argv: readonly string[]): string {
    if (this.#processes.size >= limits.backgroundProcessesMaxCount) {
      throw new BulkheadError('limit_exceeded', 'There are too many background processes.');
    }
    const name = `p${this.#processes.size + 1}`;
    const { bytes, exitCode } = runFakeProgram(argv);
    this.#processes.set(name, { argv, bytes, exitCode: argv[0] === 'sleep' ? null : exitCode, signal: null });
    return name;
  }

  list(): readonly BackgroundProcess[] {
    return [...this.#processes].map(([process, { argv, bytes, exitCode, signal }]) => ({
      process,
      argv,
      running: exitCode === null && signal === null,
      exitCode,
      signal,
      outputBytes: bytes.length,
    }));
  }

  output(name: string): Uint8Array {
    return this.#find(name).bytes;
  }

  kill(name: string): void {
    const process = this.#find(name);
    if (process.exitCode === null) process.signal = killed;
  }

  #find(name: string): FakeProcess {
    const process = this.#processes.get(name);
    if (process === undefined) throw new BulkheadError('not_found', 'There is no such process.');
    return process;
  }
}
