// Which runsc this host has, and the few ways in which we call it.

import { type SpawnOptions, execFile } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import { type Accelerator, BulkheadError } from '@bulkhead/protocol';
import { printable } from '../../lib/printable.ts';

const versionTimeoutMs = 10_000;
const searchPath = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];
/** All that runsc sees of our environment. */
export const runscEnvironment: NonNullable<SpawnOptions['env']> = { PATH: searchPath.join(':') };
const hint =
  'Run script/bootstrap, or install the package runsc. Where the distribution has none, gvisor.dev has releases.';

export interface Runsc {
  readonly path: string;
  /** The whole first line that it says of itself. */
  readonly version: string;
}

/** How a container's code is run, in the order in which we would rather have it. */
export const platforms = ['systrap', 'kvm', 'ptrace'] as const satisfies readonly Accelerator[];
export type Platform = (typeof platforms)[number];

/** Errors: `host_unsupported` when it is not there, does not run, or may not be used by whom we are. */
export async function findRunsc(): Promise<Runsc> {
  const path = searchPath.map((directory) => join(directory, 'runsc')).find(isExecutable);
  if (path === undefined) throw new BulkheadError('host_unsupported', 'There is no runsc on this host.', { hint });
  const { stdout, failure } = await runToEnd(path, ['--version'], versionTimeoutMs);
  if (failure !== undefined) {
    throw new BulkheadError('host_unsupported', `${path} does not run on this host: ${failure}`, { hint });
  }
  const version = printable(stdout.split('\n')[0] ?? '', 100);
  if (process.geteuid?.() !== 0) {
    throw new BulkheadError('host_unsupported', 'runsc makes its sandboxes as root, and this is not root.', {
      hint: 'Run Bulkhead as root to use gVisor: each sandbox becomes nobody, in namespaces of its own.',
    });
  }
  return { path, version };
}

export interface RunResult {
  readonly stdout: string;
  /** Why it did not end well, in the program's own last words. */
  readonly failure: string | undefined;
}

/** A program that ends by itself, or is killed after `timeoutMs`. Never rejects. */
export function runToEnd(file: string, args: readonly string[], timeoutMs: number): Promise<RunResult> {
  const options = { timeout: timeoutMs, killSignal: 'SIGKILL', env: runscEnvironment } as const;
  return new Promise((resolve) => {
    execFile(file, args, options, (error, stdout, stderr) => {
      const words = printable(stderr.trim().split('\n').at(-1) ?? '', 300);
      const why = error?.killed === true ? `no end within ${timeoutMs / 1000} s` : words || error?.message;
      resolve({ stdout, failure: error === null ? undefined : why });
    });
  });
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Flags before the command. `stateDir` is the container's own: nothing is shared between machines, and nothing is left when it is removed. */
export function runscFlags(stateDir: string, platform: Platform): string[] {
  return [
    `--root=${stateDir}`,
    `--platform=${platform}`,
    '--network=none',
    // The root below is never written to: what changes lies in the sandbox's memory, and counts as such.
    '--overlay2=root:memory',
    // We make the control groups, so that they are there before anything runs.
    '--ignore-cgroups',
    '--host-uds=none',
  ];
}
