// Writing a container out, and where that lies until it is sealed or run again: in the host's memory, for its owner alone.

import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { MachineId } from '@bulkhead/protocol';
import { ownerMark } from '../../lib/owner.ts';
import { type Platform, type Runsc, runToEnd, runscFlags } from './runsc-program.ts';
import { sweepOwned } from './root-tree.ts';

const checkpointTimeoutMs = 60_000;
const sharedMemory = '/dev/shm';
const prefix = 'bulkhead-checkpoint';
/** The file that runsc makes in the folder that it is given. */
export const imageName = 'checkpoint.img';

/** A folder for an image, removed on disposal. In memory where this host has such a place. */
export class ImageFolder implements AsyncDisposable {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  static async make(): Promise<ImageFolder> {
    const parent = existsSync(sharedMemory) ? sharedMemory : tmpdir();
    return new ImageFolder(await mkdtemp(join(parent, `${prefix}.${ownerMark}.`)));
  }

  get imagePath(): string {
    return join(this.path, imageName);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.path, { recursive: true, force: true });
  }
}

export interface CheckpointOptions {
  readonly runsc: Runsc;
  readonly platform: Platform;
  readonly stateDir: string;
  readonly id: MachineId;
  /** In whose network namespace the sandbox is spoken to. */
  readonly runscPid: number;
  readonly folder: string;
}

/** Writes the container into the folder; it has ended then. Rejects with what runsc said. */
export async function checkpoint(options: CheckpointOptions): Promise<void> {
  const { runsc, platform, stateDir, id, runscPid, folder } = options;
  const command = [runsc.path, ...runscFlags(stateDir, platform), 'checkpoint', `--image-path=${folder}`, id];
  const { failure } = await runToEnd(
    'nsenter',
    [`--net=/proc/${runscPid}/ns/net`, '--', ...command],
    checkpointTimeoutMs,
  );
  if (failure !== undefined) throw new Error(`runsc could not write the container out: ${failure}`);
}

export async function sweepImages(): Promise<string[]> {
  const pattern = /^bulkhead-(?:checkpoint|probe)\.(\d+-\d+)\./;
  const removed = await Promise.all([...new Set([sharedMemory, tmpdir()])].map((place) => sweepOwned(place, pattern)));
  return removed.flat();
}
