// Where snapshots lie: a directory a session, a file a snapshot. A file has its name only when all of it is on the disk.

import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rename, rm, rmdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { type SessionId, type SnapshotId, parseId } from '@bulkhead/protocol';
import { errnoOf } from '../lib/errno.ts';
import { isOwnerAlive, ownerMark } from '../lib/owner.ts';
import { syncDirectory } from '../lib/sync-directory.ts';
import { invalidSnapshot } from './snapshot-header.ts';

/** A snapshot that is being written; without `commit` it is gone when it is disposed of. */
export interface NewSnapshotFile extends AsyncDisposable {
  readonly fd: number;
  /** After its content has been synced. */
  commit(): Promise<void>;
}

export interface FoundSnapshot {
  readonly session: SessionId;
  readonly snapshot: SnapshotId;
}

const attemptsMaxCount = 3;

/** A new file. The directory may go in between, with the last snapshot that a session has left. */
async function openIn(directory: string, path: string): Promise<FileHandle> {
  for (let attempt = 1; ; attempt++) {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    try {
      return await open(path, 'wx+', 0o600);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT' || attempt === attemptsMaxCount) throw error;
    }
  }
}

export class SnapshotFiles {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  async create(session: SessionId, snapshot: SnapshotId): Promise<NewSnapshotFile> {
    const directory = join(this.#directory, session);
    const temporary = join(directory, `.${ownerMark}.${snapshot}`);
    const file = await openIn(directory, temporary);
    let committed = false;
    return {
      fd: file.fd,
      commit: async () => {
        await rename(temporary, join(directory, snapshot));
        committed = true;
        await syncDirectory(directory);
      },
      [Symbol.asyncDispose]: async () => {
        await file.close();
        if (!committed) await rm(temporary, { force: true });
      },
    };
  }

  /** Errors: `snapshot_invalid` when it is not there. */
  async open(session: SessionId, snapshot: SnapshotId): Promise<FileHandle> {
    try {
      return await open(join(this.#directory, session, snapshot), constants.O_RDONLY | constants.O_NOFOLLOW);
    } catch (error) {
      throw invalidSnapshot('it is not there', error);
    }
  }

  /** Idempotent, as `removeAll`. */
  async remove(session: SessionId, snapshot: SnapshotId): Promise<void> {
    try {
      await unlink(join(this.#directory, session, snapshot));
      await rmdir(join(this.#directory, session));
    } catch (error) {
      if (!['ENOENT', 'ENOTEMPTY', 'EEXIST'].includes(errnoOf(error) ?? '')) throw error;
    }
  }

  async removeAll(session: SessionId): Promise<void> {
    await rm(join(this.#directory, session), { recursive: true, force: true });
  }

  /** Those of one session. */
  async listOf(session: SessionId): Promise<readonly SnapshotId[]> {
    const names = await readdir(join(this.#directory, session)).catch(() => []);
    return names.flatMap((name) => parseId('snapshot', name) ?? []);
  }

  /** Every snapshot that is whole. Removes what writers that died left. */
  async list(): Promise<readonly FoundSnapshot[]> {
    const found: FoundSnapshot[] = [];
    for (const name of await readdir(this.#directory).catch(() => [])) {
      const session = parseId('session', name);
      if (session === undefined) continue;
      for (const file of await readdir(join(this.#directory, session))) {
        const snapshot = parseId('snapshot', file);
        if (snapshot !== undefined) found.push({ session, snapshot });
        else if (!isOwnerAlive(file.slice(1))) await rm(join(this.#directory, session, file), { force: true });
      }
    }
    return found;
  }
}
