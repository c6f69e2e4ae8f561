// Tools for the files of a session.

import { BulkheadError, idSchema, routes } from '@bulkhead/protocol';
import { z } from 'zod';
import { homeDirectory, readPart, writeWhole } from './file-content.ts';
import { imageContent, imageMaxBytes, imageMimeTypes } from './image-content.ts';
import { mcpLimits } from './mcp-limits.ts';
import { makeMark, programText, quotedName } from './program-text.ts';
import { findSession, sessionOrOwn } from './run-tools.ts';
import { type Tool, type ToolAnswer, type ToolContext, callOf, defineTool, readOnly } from './tool.ts';

const path = routes.readFile.query.shape.path.describe('A path in the session: absolute, or relative to /home/user.');
const encodings = ['utf8', 'base64', 'image'] as const;
const fileKinds = ['file', 'directory', 'symlink', 'other'] as const;

const readInput = z.strictObject({
  path,
  session: sessionOrOwn,
  offset: z.int().min(0).max(Number.MAX_SAFE_INTEGER).default(0).describe('The first byte.'),
  maxBytes: z
    .int()
    .min(1)
    .max(mcpLimits.readMaxBytes)
    .exactOptional()
    .describe(`At most so many bytes; ${mcpLimits.readDefaultBytes} of text unless said.`),
  encoding: z.enum(['auto', 'base64']).default('auto'),
});
const readOutput = z.object({
  session: idSchema('session'),
  path: z.string(),
  mimeType: z.string(),
  encoding: z.enum(encodings).describe('`image`: the content is an image of the answer.'),
  content: z.string().nullable(),
  offset: z.int(),
  bytes: z.int(),
  nextOffset: z.int().nullable().describe('Where the next part begins; null at the end of the file.'),
});

export const fileTools: readonly Tool[] = [
  defineTool({
    name: 'read_file',
    title: 'Read a file',
    description:
      'Reads a part of a file of the session: text as text, PNG, JPEG, WebP and GIF as an image, anything else as base64.',
    scope: 'sessions:read',
    input: readInput,
    output: readOutput,
    hints: readOnly,
    call: readFile,
  }),
  defineTool({
    name: 'write_file',
    title: 'Write a file',
    description:
      'Writes a file of the session, whole or not at all; one that is there is replaced, directories above it are made. It persists until the session ends.',
    scope: 'sessions:write',
    input: z.strictObject({
      path,
      content: z.string().max(mcpLimits.messageMaxBytes).describe('All of it.'),
      encoding: z.enum(['utf8', 'base64']).default('utf8').describe('How content is written.'),
      session: sessionOrOwn,
    }),
    output: z.object({ session: idSchema('session'), path: z.string(), bytes: z.int() }),
    hints: { readOnlyHint: false, destructiveHint: true, idempotentHint: true, openWorldHint: false },
    call: async (context, { path: given, content, encoding, session }) => {
      const bytes = encoding === 'utf8' ? Buffer.from(content) : fromBase64(content);
      const { id, note } = await findSession(context, session);
      const guest = await context.sessions.guest(context.caller, id, callOf(context));
      await writeWhole(guest, given, bytes, context.signal);
      const text = withNote(`Wrote ${bytes.length} bytes to ${quotedName(given)} (session ${id}).`, note);
      return { content: [{ type: 'text', text }], output: { session: id, path: given, bytes: bytes.length } };
    },
  }),
  defineTool({
    name: 'list_files',
    title: 'List files',
    description: `The entries of a directory of the session, at most ${mcpLimits.entriesMaxCount}.`,
    scope: 'sessions:read',
    input: z.strictObject({ path: path.default(homeDirectory), session: sessionOrOwn }),
    output: z.object({
      session: idSchema('session'),
      entries: z.array(
        z.object({
          name: z.string(),
          kind: z.enum(fileKinds),
          sizeBytes: z.number(),
          modifiedAt: z.string().nullable(),
        }),
      ),
      truncated: z.boolean().describe('The directory has more.'),
    }),
    hints: readOnly,
    call: async (context, { path: given, session }) => {
      const { id, note } = await findSession(context, session);
      const guest = await context.sessions.guestToRead(context.caller, id, callOf(context));
      const { entries, truncated } = await guest.listFiles(given, { signal: context.signal });
      const shown = entries.slice(0, mcpLimits.entriesMaxCount);
      const output = {
        session: id,
        entries: shown.map(({ name, kind, sizeBytes, modifiedMs }) => ({
          name: name.toWellFormed(),
          kind,
          sizeBytes,
          modifiedAt: time(modifiedMs),
        })),
        truncated: truncated || entries.length > shown.length,
      };
      const lines = shown.map(
        ({ name, kind, sizeBytes }) => `${kind === 'file' ? `${sizeBytes} bytes` : kind}  ${quotedName(name)}`,
      );
      const about = `${shown.length} entries of ${quotedName(given)}${output.truncated ? '; the directory has more' : ''} (session ${id}).`;
      return {
        content: [
          { type: 'text', text: withNote(about, note) },
          ...(lines.length === 0
            ? []
            : [{ type: 'text' as const, text: programText('names of files', lines.join('\n'), makeMark()) }]),
        ],
        output,
      };
    },
  }),
];

async function readFile(
  context: ToolContext,
  { path: given, session, offset, maxBytes, encoding }: z.output<typeof readInput>,
): Promise<ToolAnswer<z.output<typeof readOutput>>> {
  const { id, note } = await findSession(context, session);
  const guest = await context.sessions.guestToRead(context.caller, id, callOf(context));
  const { signal } = context;
  const limit = maxBytes ?? mcpLimits.readDefaultBytes;
  let part = await readPart(guest, given, { offset, maxBytes: limit, signal });
  const image = encoding === 'auto' ? imageMimeTypes.find((type) => type === part.mimeType) : undefined;
  if (image !== undefined) {
    // Whole, or it is none.
    if (part.more) part = await readPart(guest, given, { offset, maxBytes: imageMaxBytes, signal });
    const shown = part.more ? { refused: 'it is too large' } : imageContent(image, part.bytes.toString('base64'));
    const about = `${image}, ${part.bytes.length} bytes, session ${id}.`;
    if ('refused' in shown)
      throw new BulkheadError('unsupported', `The image is not shown: ${shown.refused}.`, {
        hint: 'Make a smaller one, or read it with encoding base64.',
      });
    return {
      content: [{ type: 'text', text: withNote(about, note) }, shown],
      output: {
        session: id,
        path: given,
        mimeType: image,
        encoding: 'image',
        content: null,
        offset,
        bytes: part.bytes.length,
        nextOffset: null,
      },
    };
  }
  const isText = part.text !== undefined && encoding === 'auto';
  const content = isText ? (part.text ?? '') : part.bytes.toString('base64');
  const nextOffset = part.more ? offset + part.bytes.length : null;
  const about = `Bytes ${offset} to ${offset + part.bytes.length} of ${quotedName(given)}${isText ? '' : ', as base64'}; ${
    nextOffset === null ? 'the file ends there.' : `there is more: read on from offset ${nextOffset}.`
  }`;
  return {
    content: [
      { type: 'text', text: withNote(about, note) },
      ...(content === '' ? [] : [{ type: 'text' as const, text: programText('a file', content, makeMark()) }]),
    ],
    output: {
      session: id,
      path: given,
      mimeType: part.mimeType,
      encoding: isText ? 'utf8' : 'base64',
      content,
      offset,
      bytes: part.bytes.length,
      nextOffset,
    },
  };
}

function withNote(text: string, note: string | undefined): string {
  return note === undefined ? text : `${text}\n${note}`;
}

/** The guest says when; a moment that no calendar has is none. */
function time(unixMs: number): string | null {
  const date = new Date(unixMs);
  return Number.isNaN(date.getTime()) ? null : date.toISOString();
}

function fromBase64(text: string): Buffer {
  const compact = text.replaceAll(/\s+/g, '');
  if (compact.length % 4 === 0 && !/[^A-Za-z0-9+/]/.test(compact.replace(/={1,2}$/, '')))
    return Buffer.from(compact, 'base64');
  throw new BulkheadError('invalid_request', 'content is not base64.', { hint: 'Send text with encoding utf8.' });
}
