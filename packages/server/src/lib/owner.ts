// Which process made a thing on the host, so that what a dead one left can be told from what a live one works with.

import { readFileSync } from 'node:fs';

/** Clock ticks from the host's boot to the start of a process: with its pid, its identity. Undefined when it is gone. */
function startTime(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

/** `<pid>-<start time>`: no other process has it, also not one that has the number later. */
export function processMark(pid: number): string {
  return `${pid}-${startTime(pid) ?? '0'}`;
}

/** Of this process: the mark on all that it leaves on the host, up to the first dot of a name. */
export const ownerMark: string = processMark(process.pid);

/** Whether the process behind a mark, or behind a name that begins with one, still runs. */
export function isOwnerAlive(name: string): boolean {
  const match = /^(\d+)-(\d+)(?:\.|$)/.exec(name);
  return match !== null && startTime(Number(match[1])) === match[2];
}
