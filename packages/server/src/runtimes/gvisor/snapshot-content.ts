// What a snapshot of a container holds: what runsc wrote of it, as the records of a sealed file. Runs in a worker thread and does not return to
// its event loop: see snapshot-thread.ts. In the clear the image lies in the host's memory only, in a folder for its owner alone.

import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs';
import {
  type ExpectedHeader,
  SealedReader,
  SealedWriter,
  type SnapshotHeader,
  recordMaxBytes,
} from '../../snapshots/sealed-file.ts';

const imageKind = 1;

export interface SealJob {
  readonly type: 'seal';
  readonly imagePath: string;
  readonly target: number;
  readonly key: Uint8Array;
  readonly header: SnapshotHeader;
}

export interface UnsealJob {
  readonly type: 'unseal';
  readonly source: number;
  readonly imagePath: string;
  readonly key: Uint8Array;
  readonly expected: ExpectedHeader;
}

export interface SealResult {
  readonly bytes: number;
  readonly imageBytes: number;
}

export function seal({ imagePath, target, key, header }: SealJob): SealResult {
  const image = openSync(imagePath, 'r');
  try {
    using writer = new SealedWriter(target, key, header);
    let imageBytes = 0;
    for (;;) {
      const got = readSync(image, writer.space, 0, recordMaxBytes, null);
      if (got === 0) break;
      writer.seal(imageKind, got);
      imageBytes += got;
    }
    if (imageBytes === 0) throw new Error('runsc wrote an empty image');
    return { ...writer.finish(), imageBytes };
  } finally {
    closeSync(image);
  }
}

/** The container may run only when this has returned: what was read before the end of the file is not yet known to be whole. */
export function unseal({ source, imagePath, key, expected }: UnsealJob): SnapshotHeader {
  using reader = SealedReader.open(source, key, expected);
  const image = openSync(imagePath, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
  try {
    for (const { kind, bytes } of reader.records()) {
      if (kind !== imageKind) throw new RangeError(`a record of kind ${kind} in a snapshot of a container`);
      for (let at = 0; at < bytes.length;) at += writeSync(image, bytes, at);
    }
  } finally {
    closeSync(image);
  }
  return reader.header;
}
