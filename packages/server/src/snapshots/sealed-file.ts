// How a snapshot lies on a disk: a header that can be read, then records that can be neither read nor changed, moved, left out or
// added to without its key. Synchronous: for a worker thread.
//
//   "BHSNAP01" | u32 header length | header, JSON | 32 bytes of salt | records
//   record: u32 length of the plaintext | u8 kind | ciphertext | 16 bytes of tag
//
// The file's key is HKDF-SHA256 of the session's, with the salt and the header's digest: a key is used for one file. AES-256-GCM,
// nonce: the number of the record. Authenticated with each: its kind, and whether it is the last, which holds the number of records.

import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from 'node:crypto';
import { fstatSync, fsyncSync, readSync, writevSync } from 'node:fs';
import { startWriting } from '../lib/host-calls.ts';
import {
  type ExpectedHeader,
  type SnapshotHeader,
  checkHeader,
  invalidSnapshot,
  parseHeader,
} from './snapshot-header.ts';

export { type ExpectedHeader, type SnapshotHeader, type SnapshotKind, snapshotKinds } from './snapshot-header.ts';

const magic = Buffer.from('BHSNAP01');
const headerMaxBytes = 16_384;
const saltBytes = 32;
const keyBytes = 32;
const nonceBytes = 12;
const tagBytes = 16;
const recordHeadBytes = 5;
export const recordMaxBytes = 1_048_576;
const outputBytes = 4 * recordMaxBytes;
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

/** Writes a sealed file; what it has written is worth nothing before `finish`. */
export class SealedWriter {
  readonly #fd: number;
  readonly #key: Buffer;
  /** Sealed and not yet written; together `#waitingBytes`. */
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #written = 0;
  #records = 0;

  constructor(fd: number, key: Uint8Array, header: SnapshotHeader) {
    const headerJson = Buffer.from(JSON.stringify(header));
    const salt = randomBytes(saltBytes);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(headerJson.length);
    this.#fd = fd;
    this.#key = fileKey(key, salt, headerJson);
    this.#append(Buffer.concat([magic, length, headerJson, salt]));
  }

  /** `kind` from 0 to 254; the pieces are one record of 1 byte to 1 MiB, and the caller's again afterwards. */
  write(kind: number, ...pieces: readonly Uint8Array[]): void {
    const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
    if (kind < 0 || kind >= endKind || length === 0 || length > recordMaxBytes) {
      throw new RangeError(`a record of kind ${kind} with ${length} bytes`);
    }
    this.#seal(kind, length, pieces);
  }

  /** The last record; then all of it is on the disk. Answers with the size of the file. */
  finish(): { readonly bytes: number } {
    const count = Buffer.alloc(8);
    count.writeBigUInt64BE(BigInt(this.#records));
    this.#seal(endKind, count.length, [count]);
    this.#flush();
    this.#key.fill(0);
    fsyncSync(this.#fd);
    return { bytes: this.#written };
  }

  #seal(kind: number, length: number, pieces: readonly Uint8Array[]): void {
    const cipher = createCipheriv('aes-256-gcm', this.#key, nonce(this.#records));
    const head = Buffer.alloc(recordHeadBytes);
    head.writeUInt32BE(length);
    head.writeUInt8(kind, 4);
    cipher.setAAD(head);
    this.#append(head);
    for (const piece of pieces) this.#append(cipher.update(piece));
    cipher.final();
    this.#append(cipher.getAuthTag());
    this.#records++;
    if (this.#waitingBytes >= outputBytes) this.#flush();
  }

  #append(bytes: Buffer): void {
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
  }

  #flush(): void {
    const from = this.#written;
    while (this.#waiting.length > 0) {
      const count = writevSync(this.#fd, this.#waiting, this.#written);
      this.#written += count;
      this.#waiting = remaining(this.#waiting, count);
    }
    this.#waitingBytes = 0;
    // The disk works while the next records are made; `finish` waits for it.
    startWriting(this.#fd, from, this.#written - from);
  }
}

/** What is left of `buffers` after their first `count` bytes. */
function remaining(buffers: readonly Buffer[], count: number): Buffer[] {
  const left: Buffer[] = [];
  let skip = count;
  for (const buffer of buffers) {
    if (skip < buffer.length) left.push(buffer.subarray(skip));
    skip = Math.max(0, skip - buffer.length);
  }
  return left;
}

/** One record, opened. */
export interface SealedRecord {
  readonly kind: number;
  readonly bytes: Buffer;
}

/** Reads a sealed file. */
export class SealedReader {
  readonly header: SnapshotHeader;
  readonly #input: FileInput;
  readonly #key: Buffer;

  private constructor(header: SnapshotHeader, input: FileInput, key: Buffer) {
    this.header = header;
    this.#input = input;
    this.#key = key;
  }

  /** Errors: `snapshot_invalid`, `snapshot_incompatible`. The header is certain only when the first record is. */
  static open(fd: number, key: Uint8Array, expected: ExpectedHeader): SealedReader {
    const input = new FileInput(fd);
    const headerJson = readHeaderJson(input);
    const header = parseHeader(headerJson);
    checkHeader(header, expected);
    return new SealedReader(header, input, fileKey(key, input.take(saltBytes), headerJson));
  }

  /**
   * Every record, in order. Each is certain when it comes, but only when the generator has ended is it certain that none is missing: until then
   * nothing that was made from them may run. Errors: `snapshot_invalid`.
   */
  *records(): Generator<SealedRecord, void, void> {
    for (let record = 0; ; record++) {
      const head = Buffer.from(this.#input.take(recordHeadBytes));
      const length = head.readUInt32BE();
      const kind = head.readUInt8(4);
      if (length === 0 || length > recordMaxBytes) throw invalidSnapshot('a record has no valid length');
      const bytes = this.#open(record, head, this.#input.take(length + tagBytes));
      if (kind === endKind) {
        if (Number(bytes.readBigUInt64BE()) !== record) throw invalidSnapshot('records are missing');
        if (!this.#input.atEnd) throw invalidSnapshot('it goes on after its end');
        this.#key.fill(0);
        return;
      }
      yield { kind, bytes };
    }
  }

  #open(record: number, head: Buffer, sealed: Buffer): Buffer {
    const decipher = createDecipheriv('aes-256-gcm', this.#key, nonce(record));
    decipher.setAAD(head);
    decipher.setAuthTag(sealed.subarray(sealed.length - tagBytes));
    const bytes = decipher.update(sealed.subarray(0, sealed.length - tagBytes));
    try {
      decipher.final();
    } catch (error) {
      throw invalidSnapshot(`record ${record} was not sealed with this session's key, or was changed since`, error);
    }
    return bytes;
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
  readonly #buffer = Buffer.alloc(outputBytes);
  #from = 0;
  #to = 0;
  #position = 0;

  constructor(fd: number) {
    this.#fd = fd;
    this.#size = fstatSync(fd).size;
  }

  get atEnd(): boolean {
    return this.#from === this.#to && this.#position >= this.#size;
  }

  /** The next `length` bytes, valid until the next call. */
  take(length: number): Buffer {
    if (this.#to - this.#from < length) this.#refill(length);
    const bytes = this.#buffer.subarray(this.#from, this.#from + length);
    this.#from += length;
    return bytes;
  }

  #refill(length: number): void {
    this.#buffer.copyWithin(0, this.#from, this.#to);
    this.#to -= this.#from;
    this.#from = 0;
    while (this.#to < length) {
      const got = readSync(this.#fd, this.#buffer, this.#to, this.#buffer.length - this.#to, this.#position);
      if (got === 0) throw invalidSnapshot('it ends early');
      this.#to += got;
      this.#position += got;
    }
  }
}
