// What a process takes of the host's memory: proc(5), smaps_rollup and status.

import { readFileSync } from 'node:fs';

export interface ProcessMemory {
  /** Pages of no file: only this process has them. */
  readonly anonymousBytes: number;
  /** Anonymous pages, and those of files in memory, in proportion to how many processes share them. */
  readonly proportionalBytes: number;
}

/** Nothing for a process that has ended. */
export function readProcessMemory(pid: number): ProcessMemory {
  const bytes = fieldsOf(pid, 'smaps_rollup');
  return { anonymousBytes: bytes('Anonymous'), proportionalBytes: bytes('Pss_Anon') + bytes('Pss_Shmem') };
}

/** Pages of no file, in memory and swapped out, as the kernel has counted them: the page table is not walked. Nothing for a process that has ended. */
export function readOwnBytes(pid: number): number {
  const bytes = fieldsOf(pid, 'status');
  return bytes('RssAnon') + bytes('VmSwap');
}

function fieldsOf(pid: number, file: 'smaps_rollup' | 'status'): (field: string) => number {
  let text = '';
  try {
    text = readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    // It has ended.
  }
  return (field) => Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1] ?? 0) * 1024;
}
