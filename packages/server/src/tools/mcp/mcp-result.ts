// What a tool of an MCP server answers, as a result of ours. It is data: nothing in it is followed, and an address in it is not fetched.

import { BulkheadError } from '@bulkhead/protocol';
import type { CallToolResult, ContentBlock } from '@modelcontextprotocol/sdk/types.js';
import { printable } from '../../lib/printable.ts';
import { type OpenCredential, refuseEcho } from '../credential.ts';
import type { ToolResult } from '../tool.ts';
import { mcpBounds } from './mcp-bounds.ts';

/** Whether it is nested no deeper than what is walked through by recursion elsewhere. */
export function isShallow(value: unknown, depth: number = mcpBounds.depthMaxCount): boolean {
  let level: unknown[] = [value];
  for (let left = depth; level.length > 0; left -= 1) {
    if (left === 0) return false;
    level = level.flatMap((each) => (typeof each === 'object' && each !== null ? Object.values(each) : []));
  }
  return true;
}

/** Errors: `tool_failed` for what the server calls an error, cut to size; `limit_exceeded`. */
export function readResult(result: CallToolResult, bytesMax: number, credential: OpenCredential): ToolResult {
  if (!isShallow(result)) throw new BulkheadError('limit_exceeded', 'The answer is nested too deeply.');
  refuseEcho(credential, JSON.stringify(result));
  if (result.isError === true) {
    const said = result.content.flatMap((block) => (block.type === 'text' ? [block.text] : [])).join(' ');
    throw new BulkheadError('tool_failed', 'The tool answered with an error.', {
      details: { answer: printable(said, mcpBounds.errorMaxLength) },
    });
  }
  const [only] = result.content;
  const binary = only === undefined || result.content.length > 1 ? undefined : binaryOf(only);
  if (binary !== undefined && result.structuredContent === undefined) return readBytes(binary, bytesMax, credential);
  const value = result.structuredContent ?? valueOf(result.content);
  if (Buffer.byteLength(JSON.stringify(value)) > bytesMax) throw tooLarge(bytesMax);
  return { kind: 'value', value };
}

interface Binary {
  readonly base64: string;
  readonly contentType: string;
}

function binaryOf(block: ContentBlock): Binary | undefined {
  if (block.type === 'image' || block.type === 'audio') {
    return { base64: block.data, contentType: typeOf(block.mimeType) };
  }
  if (block.type === 'resource' && 'blob' in block.resource) {
    return { base64: block.resource.blob, contentType: typeOf(block.resource.mimeType) };
  }
  return undefined;
}

function typeOf(mimeType: string | undefined): string {
  return mimeType !== undefined && /^[\w!#$&^.+-]{1,64}\/[\w!#$&^.+-]{1,64}$/.test(mimeType)
    ? mimeType
    : 'application/octet-stream';
}

function readBytes({ base64, contentType }: Binary, bytesMax: number, credential: OpenCredential): ToolResult {
  const bytes = Buffer.from(base64, 'base64');
  refuseEcho(credential, bytes);
  if (bytes.length > bytesMax) throw tooLarge(bytesMax);
  const once = async function* once(): AsyncGenerator<Uint8Array, void, void> {
    yield bytes;
  };
  return { kind: 'bytes', bytes: once(), sizeBytes: bytes.length, contentType };
}

/** One text is a text, or what it says if that is a JSON object or list; several blocks are a list. */
function valueOf(content: readonly ContentBlock[]): unknown {
  const [only] = content;
  if (only === undefined) return null;
  if (content.length > 1) return content.map(memberOf);
  return only.type === 'text' ? parsed(only.text) : memberOf(only);
}

function memberOf(block: ContentBlock): unknown {
  if (block.type === 'text') return block.text;
  if (block.type === 'resource' && 'text' in block.resource) return block.resource.text;
  const binary = binaryOf(block);
  if (binary !== undefined) return binary;
  if (block.type !== 'resource_link') return null;
  const { uri, name, description, mimeType } = block;
  return { uri, name, description, mimeType };
}

function parsed(text: string): unknown {
  if (!/^\s*[[{]/.test(text)) return text.toWellFormed();
  try {
    const value: unknown = JSON.parse(text);
    return isShallow(value) ? value : text;
  } catch {
    return text.toWellFormed();
  }
}

function tooLarge(maximum: number): BulkheadError {
  return new BulkheadError('limit_exceeded', `The answer has more than ${maximum} bytes.`, {
    hint: 'Ask for less at once.',
    details: { maximum },
  });
}
