// Whether words are where they must not be: in the memory and on the disk of a session's machine, as the host has them, and in files of the server.

import {
  type Dirent,
  closeSync,
  fstatSync,
  openSync,
  readFileSync,
  readSync,
  readdirSync,
  readlinkSync,
} from 'node:fs';
import { join } from 'node:path';
import { findMachines } from '../../packages/server/src/runtimes/machine-name.ts';
import { dataExtents } from '../../packages/server/src/lib/host-calls.ts';

export interface Finding {
  readonly word: string;
  readonly where: string;
}

export interface MachineSearch {
  readonly findings: readonly Finding[];
  readonly memoryBytes: number;
  readonly diskBytes: number;
}

const stepBytes = 16 * 1_048_576;

/** Of the processes that are a session's machine: all that is mapped, and the disk that has no name. As root. */
export function searchMachine(session: string, words: readonly string[]): MachineSearch {
  const pids = findMachines()
    .filter((found) => found.session === session)
    .map(({ pid }) => pid);
  const findings: Finding[] = [];
  let [memoryBytes, diskBytes] = [0, 0];
  for (const pid of pids) {
    memoryBytes += searchMemory(pid, words, findings);
    for (const name of readdirSync(`/proc/${pid}/fd`)) {
      const path = `/proc/${pid}/fd/${name}`;
      if (/\/scratch\/.*\(deleted\)$/.test(readlinkSync(path))) diskBytes += searchDisk(path, words, findings);
    }
  }
  return { findings: unique(findings), memoryBytes, diskBytes };
}

function searchMemory(pid: number, words: readonly string[], findings: Finding[]): number {
  const memory = openSync(`/proc/${pid}/mem`, 'r');
  let bytes = 0;
  try {
    for (const line of readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n')) {
      const match = /^([0-9a-f]+)-([0-9a-f]+) r/.exec(line);
      // What the kernel maps into everybody cannot be read.
      if (match === null || /\[v(?:var|sys|dso)/.test(line)) continue;
      const [start, end] = [BigInt(`0x${match[1]}`), BigInt(`0x${match[2]}`)];
      bytes += searchRange(memory, start, end, words, (word) => findings.push({ word, where: 'memory' }));
    }
  } finally {
    closeSync(memory);
  }
  return bytes;
}

function searchDisk(path: string, words: readonly string[], findings: Finding[]): number {
  const disk = openSync(path, 'r');
  let bytes = 0;
  try {
    for (const { offset, length } of dataExtents(disk, fstatSync(disk).size)) {
      const [start, end] = [BigInt(offset), BigInt(offset + length)];
      bytes += searchRange(disk, start, end, words, (word) => findings.push({ word, where: 'disk' }));
    }
  } finally {
    closeSync(disk);
  }
  return bytes;
}

/** In steps that overlap by a word. Pages that cannot be read are none that hold anything. */
function searchRange(
  fd: number,
  start: bigint,
  end: bigint,
  words: readonly string[],
  found: (word: string) => void,
): number {
  const overlap = BigInt(Math.max(...words.map((word) => word.length)));
  const buffer = Buffer.alloc(stepBytes);
  let bytes = 0;
  for (let at = start; at < end;) {
    const wanted = Number(end - at < BigInt(stepBytes) ? end - at : BigInt(stepBytes));
    let count = 0;
    try {
      count = readSync(fd, buffer, 0, wanted, at);
    } catch {
      return bytes;
    }
    if (count === 0) return bytes;
    bytes += count;
    for (const word of words) if (buffer.subarray(0, count).includes(word)) found(word);
    at += BigInt(count);
    if (at < end && BigInt(count) > overlap) at -= overlap;
  }
  return bytes;
}

/** In every file below a folder. */
export function searchTree(folder: string, words: readonly string[]): readonly Finding[] {
  const findings: Finding[] = [];
  const entries: Dirent[] = readdirSync(folder, { withFileTypes: true, recursive: true });
  for (const entry of entries) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const content = readFileSync(path);
    for (const word of words) if (content.includes(word)) findings.push({ word, where: path });
  }
  return unique(findings);
}

function unique(findings: readonly Finding[]): readonly Finding[] {
  return [...new Map(findings.map((finding) => [`${finding.where} ${finding.word}`, finding])).values()];
}
