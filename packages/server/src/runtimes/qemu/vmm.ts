// One QEMU process in its jail, from spawn to proof of death.

import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { Duplex, type Readable } from 'node:stream';
import { printable } from '../../lib/printable.ts';
import { killProcess } from '../machine-name.ts';
import { type JailOptions, jailCommand } from './jail.ts';
import { descriptors } from './qemu-command.ts';
import { Qmp } from './qmp.ts';

const stderrKeptBytes = 4096;
/** Bubblewrap says which process it made as soon as it has; on a busy host that takes a while. */
const reportWaitMs = 2000;

export interface VmmFiles {
  readonly memory?: number;
  readonly root?: number;
  readonly scratch?: number;
  readonly deviceState?: number;
  readonly savedState?: number;
  /** Further descriptors, from the number after the last of `descriptors`. */
  readonly extra?: readonly number[];
}

/** A running VMM. `kill` is idempotent and returns when every process of it is gone. */
export class Vmm {
  readonly qmp: Qmp;
  readonly channel: Duplex;
  /** Settles when the jail's first process is gone; with QEMU's last words. Never rejects. */
  readonly exited: Promise<string>;
  readonly #child: ChildProcess;
  /** In the command line of each of its processes. */
  readonly #name: string;
  readonly #vmmPid: Promise<number | undefined>;
  #stderr = Buffer.alloc(0);
  #gone: Promise<void> | undefined;

  constructor(jail: JailOptions, qemuArguments: readonly string[], files: VmmFiles) {
    const [file, ...args] = jailCommand(jail, qemuArguments);
    this.#name = qemuArguments[qemuArguments.indexOf('-name') + 1] ?? '';
    const stdio: ('ignore' | 'pipe' | number)[] = ['ignore', 'ignore', 'pipe'];
    stdio[descriptors.qmp] = 'pipe';
    stdio[descriptors.channel] = 'pipe';
    stdio[descriptors.info] = 'pipe';
    stdio[descriptors.memory] = files.memory ?? 'ignore';
    stdio[descriptors.root] = files.root ?? 'ignore';
    stdio[descriptors.scratch] = files.scratch ?? 'ignore';
    stdio[descriptors.deviceState] = files.deviceState ?? 'ignore';
    stdio[descriptors.savedState] = files.savedState ?? 'ignore';
    stdio.push(...(files.extra ?? []));
    this.#child = spawn(file ?? '', args, { stdio, env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' } });
    const stream = (index: number): Duplex => {
      const end = this.#child.stdio[index];
      if (!(end instanceof Duplex)) throw new Error(`descriptor ${index} is no stream: the process was not made`);
      return end;
    };
    this.qmp = new Qmp(stream(descriptors.qmp));
    this.channel = stream(descriptors.channel);
    this.#vmmPid = readChildPid(stream(descriptors.info));
    this.#child.stderr?.on('data', (chunk: Buffer) => {
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

  /** The jail's process and QEMU's own, as the host numbers them; QEMU's first. */
  async pids(): Promise<number[]> {
    return [await this.#vmmPid, this.#child.pid].filter((pid) => pid !== undefined);
  }

  kill(): Promise<void> {
    this.#gone ??= this.#killAll();
    return this.#gone;
  }

  async #killAll(): Promise<void> {
    // QEMU, process 1 of its namespace, is to die with the jail's process, but that is arranged by itself, after it was made: one that has not got so far
    // would live on. So it is killed first, while its parent is there and its number can be nobody else's, and is proved gone by that number.
    const report = new AbortController();
    const late = delay(reportWaitMs, undefined, { signal: report.signal }).catch(() => undefined);
    const pid = await Promise.race([this.#vmmPid, this.exited.then(() => this.#vmmPid), late]);
    report.abort();
    if (pid !== undefined && this.#isOurs(pid)) killProcess(pid);
    this.#child.kill('SIGKILL');
    await this.exited;
    for (const stream of this.#child.stdio) stream?.destroy();
    if (pid !== undefined) await this.#waitUntilGone(pid);
  }

  /** A process that has ended has no command line. Read at once: it is memory, and the pool's threads may all be waiting for a disk. */
  #isOurs(pid: number): boolean {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(this.#name);
    } catch {
      return false;
    }
  }

  async #waitUntilGone(pid: number): Promise<void> {
    const deadline = performance.now() + 5000;
    while (this.#isOurs(pid)) {
      if (performance.now() > deadline) throw new Error(`process ${pid} survived SIGKILL for 5 s`);
      await delay(1);
    }
  }
}

/** Bubblewrap says on its info descriptor which process it made. */
async function readChildPid(info: Readable): Promise<number | undefined> {
  let text = '';
  info.on('error', () => undefined);
  for await (const chunk of info as AsyncIterable<Buffer>) {
    text += chunk.toString('utf8');
    if (text.includes('}') || text.length > 4096) break;
  }
  const match = /"child-pid":\s*(\d+)/.exec(text);
  return match === null ? undefined : Number(match[1]);
}
