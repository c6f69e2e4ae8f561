// What a process takes of the host's memory: proc(5), smaps_rollup.

import { readFileSync } from 'node:fs';

export interface ProcessMemory {
  /** Pages of no file: only this process has them. */
  readonly anonymousBytes: number;
  /** Anonymous pages, and those of files in memory, in proportion to how many processes share them. */
  readonly proportionalBytes: number;
}

/** Nothing for a process that has ended. */
export function readProcessMemory(pid: number): ProcessMemory {
  try {
    const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
    const bytes = (field: string): number =>
      Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(rollup)?.[1] ?? 0) * 1024;
    return { anonymousBytes: bytes('Anonymous'), proportionalBytes: bytes('Pss_Anon') + bytes('Pss_Shmem') };
  } catch {
    return { anonymousBytes: 0, proportionalBytes: 0 };
  }
}
