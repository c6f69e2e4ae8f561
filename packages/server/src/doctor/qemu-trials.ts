// What the `qemu` runtime needs of a host, tried with the runtime's own code, so that the doctor and a launch cannot disagree.

import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { openCgroups } from '../runtimes/cgroups.ts';
import { createMemory, sealMemory } from '../lib/host-calls.ts';

/** Whether the runtime could make a control group with its limits and remove it. */
export async function tryCgroups(): Promise<boolean> {
  return (await openCgroups()) !== undefined;
}

function errorCode(attempt: () => void): string | undefined {
  try {
    attempt();
    return undefined;
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : String(error);
  }
}

const write = (fd: number): void => void writeSync(fd, 'x', 0);

/** Seals a page of memory as a template is sealed, and tries to change it in each way there is. Rejects when one of them works. */
export async function trySealedMemory(): Promise<string> {
  const memory = createMemory('bulkhead-doctor');
  try {
    // The control: before the seals the same calls work.
    ftruncateSync(memory, 4096);
    write(memory);
    sealMemory(memory);
    const attempts = {
      'a write': errorCode(() => write(memory)),
      'a shorter size': errorCode(() => ftruncateSync(memory, 1)),
      'a larger size': errorCode(() => ftruncateSync(memory, 8192)),
      'a write through a new descriptor': errorCode(() => {
        const again = openSync(`/proc/self/fd/${memory}`, 'r+');
        try {
          write(again);
        } finally {
          closeSync(again);
        }
      }),
    };
    const allowed = Object.entries(attempts).flatMap(([name, code]) => (code === 'EPERM' ? [] : [`${name}: ${code}`]));
    if (allowed.length > 0) throw new Error(`sealed memory did not refuse ${allowed.join(', ')}`);
    return 'Memory can be sealed: writes and changes of size are refused afterwards.';
  } finally {
    closeSync(memory);
  }
}
