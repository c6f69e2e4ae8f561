// A part of a file of a session, as text where it is text. The path is the guest's: the host bounds it and never resolves it.

import { BulkheadError } from '@bulkhead/protocol';
import type { SessionGuest } from '../../sessions/session-guest.ts';
import { imageTypeOf } from './image-content.ts';

/** Where a user of the guest is at home. */
export const homeDirectory = '/home/user';

export interface FilePart {
  readonly bytes: Buffer;
  /** The text that the bytes are, when they are UTF-8 without NUL; a character that is cut by the end is not in them. */
  readonly text: string | undefined;
  readonly mimeType: string;
  /** Whether the file goes on after them. */
  readonly more: boolean;
}

/** Errors: `cancelled`, those of `SessionGuest.readFile`. */
export async function readPart(
  guest: SessionGuest,
  path: string,
  { offset, maxBytes, signal }: { readonly offset: number; readonly maxBytes: number; readonly signal: AbortSignal },
): Promise<FilePart> {
  const chunks: Uint8Array[] = [];
  let position = 0;
  let length = 0;
  // One byte more than is wanted tells whether there is more.
  for await (const chunk of guest.readFile(path, { signal })) {
    const wanted = chunk.subarray(Math.max(0, offset - position), Math.max(0, offset + maxBytes + 1 - position));
    position += chunk.length;
    if (wanted.length > 0) chunks.push(Buffer.from(wanted));
    length += wanted.length;
    if (length > maxBytes) break;
  }
  if (signal.aborted) throw new BulkheadError('cancelled', 'The call was cancelled.');
  const read = Buffer.concat(chunks);
  const more = read.length > maxBytes;
  const part = read.subarray(0, maxBytes);
  const text = toText(more ? withoutCutCharacter(part) : part);
  const bytes = text === undefined ? part : more ? withoutCutCharacter(part) : part;
  return { bytes, text, more, mimeType: text === undefined ? binaryType(part, offset) : 'text/plain' };
}

function binaryType(bytes: Buffer, offset: number): string {
  return (offset === 0 ? imageTypeOf(bytes.subarray(0, 32)) : undefined) ?? 'application/octet-stream';
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function toText(bytes: Buffer): string | undefined {
  if (bytes.includes(0)) return undefined;
  try {
    return decoder.decode(bytes);
  } catch {
    return undefined;
  }
}

function withoutCutCharacter(bytes: Buffer): Buffer {
  for (let back = 1; back <= 3 && back < bytes.length; back += 1) {
    const byte = bytes[bytes.length - back] ?? 0;
    if (byte < 0x80) return bytes;
    if (byte < 0xc0) continue;
    const need = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
    return back < need ? bytes.subarray(0, bytes.length - back) : bytes;
  }
  return bytes;
}

/** Whole or not at all; the directories above it are made. Errors: those of `SessionGuest.writeFile`. */
export async function writeWhole(guest: SessionGuest, path: string, bytes: Buffer, signal: AbortSignal): Promise<void> {
  const above = path.slice(0, Math.max(0, path.lastIndexOf('/')));
  if (above !== '') await guest.mkdir(above, { signal });
  const content = async function* content(): AsyncGenerator<Uint8Array, void, void> {
    yield bytes;
  };
  await guest.writeFile(path, content(), bytes.length, { signal });
}
