// How a snapshot lies on a disk: a header that can be read, then records that can be neither read nor changed, moved, left out or
// added to without its key. Synchronous: for a worker thread.
//
//   "BHSNAP01" | u32 header length | header, JSON | 32 bytes of salt | records
//   record: u32 length of the plaintext | u8 kind | ciphertext | 16 bytes of tag
//
// The file's key is HKDF-SHA256 of the session's, with the salt and the header's digest: a key is used for one file. AES-256-GCM,
// nonce: the number of the record. Authenticated with each: its kind, and whether it is the last, which holds the number of records.

import { createHash, hkdfSync, randomBytes } from 'node:crypto';
import { fstatSync, fsyncSync, readSync, writeSync } from 'node:fs';
import { AesGcm, keyBytes, nonceBytes, tagBytes } from '../lib/aes-gcm.ts';
import { BackgroundSync } from '../lib/background-sync.ts';
import {
  type ExpectedHeader,
  type SnapshotHeader,
  checkHeader,
  invalidSnapshot,
  parseHeader,
} from './snapshot-header.ts';

export {
  type ExpectedHeader,
  type SnapshotHeader,
  type SnapshotKind,
  snapshotKinds,
  snapshotVersion,
} from './snapshot-header.ts';

const magic = Buffer.from('BHSNAP01');
const headerMaxBytes = 16_384;
const saltBytes = 32;
const recordHeadBytes = 5;
export const recordMaxBytes = 1_048_576;
const sealedMaxBytes = recordHeadBytes + recordMaxBytes + tagBytes;
/** So much is read, or sent on its way to the disk, at once. */
const pieceBytes = 2 * recordMaxBytes;
/** What is written before the end begins and ends at blocks of the disk: one that is on its way there would have to be waited for. */
const blockBytes = 4096;
/** A record's kind is its owner's; this one is ours. */
const endKind = 255;

function fileKey(key: Uint8Array, salt: Uint8Array, header: Buffer): Buffer {
  if (key.length !== keyBytes) throw new RangeError(`a key has ${keyBytes} bytes`);
  const info = Buffer.concat([Buffer.from('bulkhead snapshot v1'), createHash('sha256').update(header).digest()]);
  return Buffer.from(hkdfSync('sha256', key, salt, info, keyBytes));
}

function nonce(record: number): Buffer {
  const bytes = Buffer.alloc(nonceBytes);
  bytes.writeUIntBE(record, nonceBytes - 6, 6);
  return bytes;
}

/** Where records are put together, of writers that are done with it: having the kernel make so much memory takes longer than a tenth of it takes to be sealed. */
const outputs: Buffer[] = [];

/** Writes a sealed file; what it has written is worth nothing before `finish`. */
export class SealedWriter implements Disposable {
  readonly #fd: number;
  readonly #cipher: AesGcm;
  readonly #sync: BackgroundSync;
  /** Its first `#filled` bytes are not yet written. */
  readonly #output = outputs.pop() ?? Buffer.alloc(pieceBytes + sealedMaxBytes);
  #filled = 0;
  #written = 0;
  #records = 0;
  #disposed = false;

  constructor(fd: number, key: Uint8Array, header: SnapshotHeader) {
    const headerJson = Buffer.from(JSON.stringify(header));
    const salt = randomBytes(saltBytes);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(headerJson.length);
    const derived = fileKey(key, salt, headerJson);
    this.#cipher = new AesGcm(derived, 'seal');
    derived.fill(0);
    this.#fd = fd;
    this.#sync = new BackgroundSync(fd);
    this.#filled = Buffer.concat([magic, length, headerJson, salt]).copy(this.#output);
  }

  /** Where the next record may be put together, `recordMaxBytes` long, for `seal`. */
  get space(): Buffer {
    const start = this.#filled + recordHeadBytes;
    return this.#output.subarray(start, start + recordMaxBytes);
  }

  /** Makes the first `length` bytes of `space`, 1 byte to 1 MiB, a record; `kind` from 0 to 254. */
  seal(kind: number, length: number): void {
    if (kind < 0 || kind >= endKind || length === 0 || length > recordMaxBytes) {
      throw new RangeError(`a record of kind ${kind} with ${length} bytes`);
    }
    this.#seal(kind, length);
  }

  /** A record from pieces, which are the caller's again afterwards. */
  write(kind: number, ...pieces: readonly Uint8Array[]): void {
    const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
    if (length <= recordMaxBytes) this.#put(pieces);
    this.seal(kind, length);
  }

  /** The last record; then all of it is on the disk. Answers with the size of the file. */
  finish(): { readonly bytes: number } {
    const count = Buffer.alloc(8);
    count.writeBigUInt64BE(BigInt(this.#records));
    this.#put([count]);
    this.#seal(endKind, count.length);
    this.#flush(this.#filled);
    fsyncSync(this.#fd);
    return { bytes: this.#written };
  }

  [Symbol.dispose](): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#cipher[Symbol.dispose]();
    this.#sync[Symbol.dispose]();
    this.#output.fill(0);
    outputs.push(this.#output);
  }

  #put(pieces: readonly Uint8Array[]): void {
    let at = 0;
    for (const piece of pieces) {
      this.space.set(piece, at);
      at += piece.length;
    }
  }

  #seal(kind: number, length: number): void {
    const head = this.#output.subarray(this.#filled, this.#filled + recordHeadBytes);
    const bytes = this.space.subarray(0, length);
    const end = this.#filled + recordHeadBytes + length;
    head.writeUInt32BE(length);
    head.writeUInt8(kind, 4);
    this.#cipher.seal(nonce(this.#records), head, bytes, this.#output.subarray(end, end + tagBytes));
    this.#filled = end + tagBytes;
    this.#records++;
    if (this.#filled < pieceBytes) return;
    this.#flush(this.#filled - (this.#filled % blockBytes));
    this.#sync.start();
  }

  #flush(length: number): void {
    for (let at = 0; at < length;) at += writeSync(this.#fd, this.#output, at, length - at, this.#written + at);
    this.#written += length;
    this.#output.copyWithin(0, length, this.#filled);
    this.#filled -= length;
  }
}

/** One record, opened. */
export interface SealedRecord {
  readonly kind: number;
  readonly bytes: Buffer;
}

/** Reads a sealed file. */
export class SealedReader implements Disposable {
  readonly header: SnapshotHeader;
  readonly #input: FileInput;
  readonly #cipher: AesGcm;

  private constructor(header: SnapshotHeader, input: FileInput, cipher: AesGcm) {
    this.header = header;
    this.#input = input;
    this.#cipher = cipher;
  }

  /** Errors: `snapshot_invalid`, `snapshot_incompatible`. The header is certain only when the first record is. */
  static open(fd: number, key: Uint8Array, expected: ExpectedHeader): SealedReader {
    const input = new FileInput(fd);
    const headerJson = readHeaderJson(input);
    const header = parseHeader(headerJson);
    checkHeader(header, expected);
    const derived = fileKey(key, input.take(saltBytes), headerJson);
    const cipher = new AesGcm(derived, 'open');
    derived.fill(0);
    return new SealedReader(header, input, cipher);
  }

  /**
   * Every record, in order, once. Each is certain when it comes, but only when the generator has ended is it certain that none is missing: until then
   * nothing that was made from them may run. Errors: `snapshot_invalid`.
   */
  *records(): Generator<SealedRecord, void, void> {
    for (let record = 0; ; record++) {
      const head = this.#input.take(recordHeadBytes);
      const length = head.readUInt32BE();
      const kind = head.readUInt8(4);
      if (length === 0 || length > recordMaxBytes) throw invalidSnapshot('a record has no valid length');
      const bytes = this.#open(record, head, this.#input.take(length + tagBytes));
      if (kind === endKind) {
        if (Number(bytes.readBigUInt64BE()) !== record) throw invalidSnapshot('records are missing');
        if (!this.#input.atEnd) throw invalidSnapshot('it goes on after its end');
        return;
      }
      yield { kind, bytes };
    }
  }

  [Symbol.dispose](): void {
    this.#cipher[Symbol.dispose]();
  }

  #open(record: number, head: Buffer, sealed: Buffer): Buffer {
    const bytes = sealed.subarray(0, sealed.length - tagBytes);
    if (this.#cipher.open(nonce(record), head, bytes, sealed.subarray(bytes.length))) return bytes;
    bytes.fill(0);
    throw invalidSnapshot(`record ${record} was not sealed with this session's key, or was changed since`);
  }
}

/** The header of a file, which nothing vouches for. Errors: `snapshot_invalid`. */
export function readHeader(fd: number): SnapshotHeader {
  return parseHeader(readHeaderJson(new FileInput(fd)));
}

function readHeaderJson(input: FileInput): Buffer {
  if (!input.take(magic.length).equals(magic)) throw invalidSnapshot('it is no snapshot');
  const length = input.take(4).readUInt32BE();
  if (length > headerMaxBytes) throw invalidSnapshot('its header is damaged');
  return Buffer.from(input.take(length));
}

/** A file from its beginning, in large reads. */
class FileInput {
  readonly #fd: number;
  readonly #size: number;
  #buffer = Buffer.alloc(0);
  #from = 0;
  #position = 0;

  constructor(fd: number) {
    this.#fd = fd;
    this.#size = fstatSync(fd).size;
  }

  get atEnd(): boolean {
    return this.#from === this.#buffer.length && this.#position >= this.#size;
  }

  /** The next `length` bytes: the caller's. */
  take(length: number): Buffer {
    if (this.#buffer.length - this.#from < length) this.#refill(length);
    const bytes = this.#buffer.subarray(this.#from, this.#from + length);
    this.#from += length;
    return bytes;
  }

  /** With memory that is new: what was in the buffer has been given away. */
  #refill(length: number): void {
    const left = this.#buffer.subarray(this.#from);
    const wanted = Math.max(length, Math.min(pieceBytes, left.length + this.#size - this.#position));
    const next = Buffer.allocUnsafeSlow(wanted);
    let filled = left.copy(next);
    while (filled < length) {
      const got = readSync(this.#fd, next, filled, wanted - filled, this.#position);
      if (got === 0) throw invalidSnapshot('it ends early');
      filled += got;
      this.#position += got;
    }
    this.#buffer = next.subarray(0, filled);
    this.#from = 0;
  }
}
