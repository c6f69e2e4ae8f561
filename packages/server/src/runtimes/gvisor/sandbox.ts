// One container with its sandbox, from spawn to proof of death. `runsc` itself stays as the parent of the sandbox and of the gofer, which hands
// it files: when one of these three ends, or we do, the kernel ends the others.

import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { Readable, Writable } from 'node:stream';
import { setInterval, setTimeout } from 'node:timers/promises';
import type { MachineId } from '@bulkhead/protocol';
import { printable } from '../../lib/printable.ts';
import { findMachines, killProcess } from '../machine-name.ts';
import { runscEnvironment } from './runsc-program.ts';

const stderrKeptBytes = 4096;
const goneTimeoutMs = 5000;
const goferFirstPollMs = 25;
const goferPollMs = 1000;

/** What stands around runsc. Its control socket is an abstract one, which anybody in the same network namespace could speak to. */
const surroundings = 'prlimit --core=0 -- setpriv --pdeathsig KILL -- unshare --net --'.split(' ');

export interface SandboxOptions {
  readonly id: MachineId;
  /** The command with its flags, `runsc` first. */
  readonly command: readonly string[];
  /** Files to write `0` into before anything else runs, so that every process of the machine is in its groups. */
  readonly cgroupFiles: readonly string[];
}

/** A running container. `kill` is idempotent and returns when every process of it is gone. */
export class Sandbox {
  readonly input: Writable;
  readonly output: Readable;
  /** Settles when `runsc` is gone; with its last words. Never rejects. */
  readonly exited: Promise<string>;
  readonly #child: ChildProcess;
  readonly #id: MachineId;
  #stderr = Buffer.alloc(0);
  #gone: Promise<void> | undefined;

  constructor({ id, command, cgroupFiles }: SandboxOptions) {
    const [file, ...args] = inGroups(cgroupFiles, [...surroundings, ...command]);
    this.#id = id;
    this.#child = spawn(file ?? '', args, { stdio: ['pipe', 'pipe', 'pipe'], env: runscEnvironment });
    const { stdin, stdout, stderr } = this.#child;
    if (stdin === null || stdout === null) throw new Error('runsc has no streams: the process was not made');
    this.input = stdin;
    this.output = stdout;
    stderr?.on('data', (chunk: Buffer) => {
      this.#stderr = Buffer.concat([this.#stderr, chunk]).subarray(-stderrKeptBytes);
    });
    this.exited = new Promise((resolve) => {
      this.#child.once('error', (error) => resolve(error.message));
      this.#child.once('exit', (code, signal) => {
        const words = printable(this.#stderr.toString('utf8'), 1000);
        resolve(`${signal === null ? `exit code ${code}` : `signal ${signal}`}${words === '' ? '' : `: ${words}`}`);
      });
    });
  }

  /** As the host numbers them: the sandbox's first, then `runsc`, the gofer and the guest's own. */
  pids(): number[] {
    const found = findMachines().filter(({ id }) => id === this.#id);
    const rank = new Map([
      ['runsc-sandbox', 0],
      ['runsc-gofer', 2],
    ]);
    return found
      .toSorted((one, other) => (rank.get(one.program) ?? 1) - (rank.get(other.program) ?? 1) || one.pid - other.pid)
      .map(({ pid }) => pid);
  }

  /** Resolves when the gofer is gone: the sandbox would live on without its files. Looks now and then; ends with `signal`. */
  async goferExited(signal: AbortSignal): Promise<void> {
    let gofer = this.#findGofer();
    // One that has ended has no name any more: it has to be known before.
    while (gofer === undefined) {
      await setTimeout(goferFirstPollMs, undefined, { signal, ref: false });
      gofer = this.#findGofer();
    }
    for await (const _tick of setInterval(goferPollMs, undefined, { signal, ref: false })) {
      if (isRunning(gofer)) continue;
      // The channel closes with it, as it does for a sandbox that ends by itself.
      this.#child.kill('SIGKILL');
      return;
    }
  }

  #findGofer(): number | undefined {
    return findMachines().find(({ id, program }) => id === this.#id && program === 'runsc-gofer')?.pid;
  }

  /** The process whose namespaces its control socket is in. */
  get runscPid(): number | undefined {
    return this.#child.pid;
  }

  kill(): Promise<void> {
    this.#gone ??= this.#killAll();
    return this.#gone;
  }

  async #killAll(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.exited;
    for (const stream of this.#child.stdio) stream?.destroy();
    await killAll(this.#id);
  }
}

/** Ends every process of a machine, and returns when none is left. */
export async function killAll(id: MachineId): Promise<void> {
  const deadline = performance.now() + goneTimeoutMs;
  for (;;) {
    const left = findMachines().filter((found) => found.id === id);
    if (left.length === 0) return;
    if (performance.now() > deadline) throw new Error(`process ${left[0]?.pid} survived SIGKILL for 5 s`);
    for (const { pid } of left) killProcess(pid);
    await setTimeout(2);
  }
}

/** A zombie does nothing any more. */
function isRunning(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2));
  } catch {
    return false;
  }
}

function inGroups(cgroupFiles: readonly string[], command: readonly string[]): readonly string[] {
  if (cgroupFiles.length === 0) return command;
  const join = 'while [ "$1" != -- ]; do echo 0 > "$1" || exit 97; shift; done; shift; exec "$@"';
  return ['/bin/sh', '-c', join, 'join-cgroup', ...cgroupFiles, '--', ...command];
}
