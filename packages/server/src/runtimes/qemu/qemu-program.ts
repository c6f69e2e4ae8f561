// Which QEMU this host has. On its own, so that it can be asked while the rest of the runtime is loaded.

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { BulkheadError } from '@bulkhead/protocol';

export interface Qemu {
  readonly path: string;
  /** Rejects with `host_unsupported` when it is not there or too old. */
  readonly version: Promise<string>;
}

/** Begins to ask QEMU for its version. */
export function findQemu(path = '/usr/bin/qemu-system-x86_64'): Qemu {
  const version = readVersion(path);
  version.catch(() => undefined); // whoever awaits it sees the failure
  return { path, version };
}

/** The whole version line, since a distribution's patches matter. Errors: `host_unsupported`. */
async function readVersion(qemuPath: string): Promise<string> {
  const hint = 'Run script/bootstrap, or install the package qemu-system-x86 (7.2 or later).';
  try {
    const { stdout } = await promisify(execFile)(qemuPath, ['--version'], { timeout: 10_000 });
    const line = stdout.split('\n')[0] ?? '';
    const match = /version (\d+)\.(\d+)/.exec(line);
    if (match !== null && Number(match[1]) * 100 + Number(match[2]) >= 702) return line;
    throw new BulkheadError('host_unsupported', `QEMU 7.2 or later is needed; this host has: ${line}`, { hint });
  } catch (error) {
    if (BulkheadError.is(error)) throw error;
    throw new BulkheadError('host_unsupported', `QEMU does not run on this host (${qemuPath}).`, {
      hint,
      cause: error,
    });
  }
}
