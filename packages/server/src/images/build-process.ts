// Runs the programs that make an image. Each is the leader of its own process group: giving up kills all of it.

import { spawn } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { createInterface } from 'node:readline';
import { errnoOf } from '../lib/errno.ts';

const logMaxLines = 400;
const lineMaxCharacters = 500;
const terminateGraceMs = 5000;

export interface BuildProcessOptions {
  readonly cwd: string;
  readonly onLine?: (line: string) => void;
  readonly onSpawn?: (pid: number) => void | Promise<void>;
  readonly signal?: AbortSignal;
}

export interface BuildProcessResult {
  /** Undefined when a signal ended it. */
  readonly exitCode: number | undefined;
  /** The last lines of standard output and standard error, in the order in which they came. */
  readonly log: readonly string[];
}

/**
 * Runs a program to its end. Rejects when it cannot be started (ENOENT), and with the signal's reason when the caller gave up;
 * its process group is gone then.
 */
export async function runBuildProcess(
  command: string,
  args: readonly string[],
  options: BuildProcessOptions,
): Promise<BuildProcessResult> {
  const { cwd, signal } = options;
  signal?.throwIfAborted();
  const child = spawn(command, args, { cwd, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  const log: string[] = [];
  const readers = [child.stdout, child.stderr].map(async (input) => {
    for await (const line of createInterface({ input, crlfDelay: Infinity })) {
      const kept = line.slice(0, lineMaxCharacters);
      log.push(kept);
      if (log.length > logMaxLines) log.shift();
      options.onLine?.(kept);
    }
  });
  const ended = new Promise<number | undefined>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve(code ?? undefined));
  });
  const { pid } = child;
  const giveUp = (): void => void (pid !== undefined && endGroup(pid, ended));
  signal?.addEventListener('abort', giveUp, { once: true });
  try {
    if (pid !== undefined) await options.onSpawn?.(pid);
    const exitCode = await ended;
    await Promise.all(readers);
    signal?.throwIfAborted();
    return { exitCode, log };
  } finally {
    signal?.removeEventListener('abort', giveUp);
  }
}

/** First politely, so that mmdebstrap takes down what it mounted; then for good. */
async function endGroup(pid: number, ended: Promise<unknown>): Promise<void> {
  killGroup(pid, 'SIGTERM');
  await Promise.race([ended.catch(() => undefined), delay(terminateGraceMs, undefined, { ref: false })]);
  killGroup(pid, 'SIGKILL');
}

/** Sends a signal to a process group; a group that is gone is success. */
export function killGroup(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(-pid, name);
  } catch (error) {
    if (errnoOf(error) !== 'ESRCH') throw error;
  }
}
