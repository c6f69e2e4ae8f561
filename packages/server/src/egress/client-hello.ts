// The first thing that a TLS client says, read as far as it has to be to know which server it asks for. A client that hides the name, names none, or
// is no TLS client, is refused. Formats: RFC 8446 (4.1.2, 5.1), RFC 6066 (3), RFC 9849.

import { egressError } from './egress-error.ts';
import { egressLimits } from './egress-limits.ts';

export interface ClientHello {
  /** In small letters, as it was sent; whether it is a name at all nobody has looked at. */
  readonly serverName: string;
  /** How many of the bytes it is, record headers and all. */
  readonly length: number;
}

const recordHeaderBytes = 5;
const recordMaxBytes = 16_384;
const contentType = { changeCipherSpec: 20, handshake: 22 } as const;
const clientHelloType = 1;
const extensionType = {
  serverName: 0,
  encryptedHelloDrafts: [0xfe08, 0xfe0c],
  encryptedHello: 0xfe0d,
  encryptedName: 0xffce,
} as const;

/** Undefined as long as it is not all there. Throws `egress_blocked`. */
export function readClientHello(bytes: Buffer): ClientHello | undefined {
  const assembled = assemble(bytes);
  if (assembled === undefined) return undefined;
  return { serverName: readServerName(new Reader(assembled.body)), length: assembled.length };
}

/** How long the record is that a client sends for the sake of old middleboxes before a second ClientHello (RFC 8446, D.4); 0 when there is none yet. */
export function skipChangeCipherSpec(bytes: Buffer): number | undefined {
  if (bytes[0] !== contentType.changeCipherSpec) return bytes.length === 0 ? undefined : 0;
  if (bytes.length < recordHeaderBytes + 1) return undefined;
  if (bytes.readUInt16BE(3) !== 1 || bytes[recordHeaderBytes] !== 1) throw refuse('A record of TLS is malformed.');
  return recordHeaderBytes + 1;
}

/** A handshake message out of the records that it is spread over. */
function assemble(bytes: Buffer): { readonly body: Buffer; readonly length: number } | undefined {
  const pieces: Buffer[] = [];
  let have = 0;
  let offset = 0;
  for (let records = 0; ; records++) {
    const [type, major, minor] = bytes.subarray(offset);
    if (type !== undefined && type !== contentType.handshake) throw refuse('The client does not speak TLS.');
    if (major !== undefined && major !== 3) throw refuse('The client does not speak TLS.');
    if (minor !== undefined && (minor < 1 || minor > 3)) throw refuse('The client does not speak TLS.');
    if (records >= egressLimits.helloRecordsMaxCount) throw refuse('The ClientHello is in too many pieces.');
    if (bytes.length < offset + recordHeaderBytes) return undefined;
    const size = bytes.readUInt16BE(offset + 3);
    if (size === 0 || size > recordMaxBytes) throw refuse('A record of TLS is malformed.');
    const piece = bytes.subarray(offset + recordHeaderBytes, offset + recordHeaderBytes + size);
    pieces.push(piece);
    have += piece.length;
    const start = Buffer.concat(pieces.map((part) => part.subarray(0, 4))).subarray(0, 4);
    if (start.length > 0 && start[0] !== clientHelloType) throw refuse('TLS does not begin with a ClientHello.');
    const wanted = start.length < 4 ? undefined : 4 + start.readUIntBE(1, 3);
    if (wanted !== undefined && wanted > egressLimits.helloMaxBytes) throw refuse('The ClientHello is too long.');
    if (piece.length < size) return undefined;
    offset += recordHeaderBytes + size;
    if (wanted === undefined || have < wanted) continue;
    if (have > wanted) throw refuse('Something else follows the ClientHello in its record.');
    return { body: Buffer.concat(pieces).subarray(4), length: offset };
  }
}

function readServerName(hello: Reader): string {
  const version = hello.uint16();
  if (version < 0x0301 || version > 0x0303) throw malformed();
  hello.take(32);
  if (hello.vector(1).left > 32) throw malformed();
  const suites = hello.vector(2).left;
  if (suites === 0 || suites % 2 !== 0 || hello.vector(1).left === 0) throw malformed();
  if (hello.left === 0) throw refuse('The client does not name the server.');
  const extensions = hello.vector(2);
  hello.end();
  const seen = new Set<number>();
  let serverName: string | undefined;
  while (extensions.left > 0) {
    const type = extensions.uint16();
    const data = extensions.vector(2);
    if (seen.has(type)) throw malformed();
    seen.add(type);
    if (isEncryptedHello(type)) throw refuse('The client hides which server it asks for (ECH).');
    if (type === extensionType.serverName) serverName = readName(data);
  }
  if (serverName === undefined) throw refuse('The client does not name the server.');
  return serverName;
}

function isEncryptedHello(type: number): boolean {
  const [first, last] = extensionType.encryptedHelloDrafts;
  return (
    type === extensionType.encryptedHello || type === extensionType.encryptedName || (type >= first && type <= last)
  );
}

/** One name, of the one type that there is. */
function readName(data: Reader): string {
  const names = data.vector(2);
  data.end();
  if (names.take(1)[0] !== 0) throw malformed();
  const name = names.vector(2).rest();
  names.end();
  if (name.length === 0 || name.some((byte) => byte < 0x21 || byte > 0x7e)) throw malformed();
  return name.toString('latin1').toLowerCase();
}

class Reader {
  #bytes: Buffer;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get left(): number {
    return this.#bytes.length;
  }

  take(size: number): Buffer {
    if (size > this.#bytes.length) throw malformed();
    const taken = this.#bytes.subarray(0, size);
    this.#bytes = this.#bytes.subarray(size);
    return taken;
  }

  uint16(): number {
    return this.take(2).readUInt16BE(0);
  }

  /** What stands behind its own length, of one byte or two. */
  vector(lengthBytes: 1 | 2): Reader {
    return new Reader(this.take(this.take(lengthBytes).readUIntBE(0, lengthBytes)));
  }

  rest(): Buffer {
    return this.take(this.left);
  }

  end(): void {
    if (this.left > 0) throw malformed();
  }
}

function malformed(): Error {
  return refuse('The ClientHello is malformed.');
}

function refuse(message: string): Error {
  return egressError('hello', message);
}
