// Images that a program made. Providers of models refuse a whole conversation that has one image with wrong content in it, so an image is passed on only
// when it begins like one of its type, and is not too large.

import { mcpLimits } from './mcp-limits.ts';

export const imageMimeTypes = ['image/png', 'image/jpeg', 'image/webp', 'image/gif'] as const;
export type ImageMimeType = (typeof imageMimeTypes)[number];

export interface ImageContent {
  readonly type: 'image';
  readonly data: string;
  readonly mimeType: ImageMimeType;
}

/** What an image of the largest size has. */
export const imageMaxBytes: number = Math.floor((mcpLimits.imagesMaxLength * 3) / 4);
/** Enough for every signature and for the size of a PNG or a GIF. */
const headBytes = 24;

/** The image, or why it is not passed on. */
export function imageContent(mimeType: ImageMimeType, data: unknown): ImageContent | { readonly refused: string } {
  if (typeof data !== 'string') return { refused: 'it is not base64' };
  const compact = data.replaceAll(/\s+/g, '');
  if (compact.length > mcpLimits.imagesMaxLength) return { refused: `it has more than ${imageMaxBytes} bytes` };
  if (!isBase64(compact)) return { refused: 'it is not base64' };
  const head = Buffer.from(compact.slice(0, 2 * headBytes), 'base64');
  if (imageTypeOf(head) !== mimeType) return { refused: `its content is no ${mimeType}` };
  const edge = longestEdge(head, mimeType);
  if (edge !== undefined && (edge === 0 || edge > mcpLimits.imageEdgeMaxPixels))
    return { refused: `an edge of it has ${edge} pixels` };
  return { type: 'image', data: compact, mimeType };
}

/** What a content is, by how it begins. */
export function imageTypeOf(head: Buffer): ImageMimeType | undefined {
  const text = head.toString('latin1');
  if (text.startsWith('\x89PNG\r\n\x1a\n') && text.slice(12, 16) === 'IHDR') return 'image/png';
  if (text.startsWith('\xff\xd8\xff')) return 'image/jpeg';
  if (text.startsWith('RIFF') && text.slice(8, 12) === 'WEBP') return 'image/webp';
  if (/^GIF8[79]a/.test(text)) return 'image/gif';
  return undefined;
}

function longestEdge(head: Buffer, mimeType: ImageMimeType): number | undefined {
  if (head.length < headBytes) return 0;
  if (mimeType === 'image/png') return Math.max(head.readUInt32BE(16), head.readUInt32BE(20));
  if (mimeType === 'image/gif') return Math.max(head.readUInt16LE(6), head.readUInt16LE(8));
  return undefined;
}

function isBase64(text: string): boolean {
  return text !== '' && text.length % 4 === 0 && !/[^A-Za-z0-9+/]/.test(text.replace(/={1,2}$/, ''));
}
