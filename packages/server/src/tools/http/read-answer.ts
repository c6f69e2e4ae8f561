// What a service answers, within bounds: JSON as a value, anything else as bytes. Where its length is stated it is passed on as it comes.

import type { IncomingHttpHeaders } from 'node:http';
import { BulkheadError, type HttpSettings } from '@bulkhead/protocol';
import type { PinnedAnswer } from '../../lib/pinned-request.ts';
import { printable } from '../../lib/printable.ts';
import { parseStrictJson } from '../../lib/strict-json.ts';
import { type OpenCredential, refuseEcho } from '../credential.ts';
import type { ToolResult } from '../tool.ts';

export const httpLimits = {
  /** JSON that is larger comes as bytes. */
  valueMaxBytes: 4_000_000,
  valueDepthMaxCount: 100,
  valuesMaxCount: 1_000_000,
  /** An answer whose length is not stated is read whole before it is passed on. */
  unknownLengthMaxBytes: 16_777_216,
  /** Of an answer that is a refusal. */
  refusalMaxBytes: 16_384,
  refusalMaxLength: 2000,
} as const;

export interface AnswerRules extends Pick<HttpSettings, 'bytesMax' | 'contentTypes'> {
  readonly credential: OpenCredential;
}

/** Errors: `tool_failed`, `limit_exceeded`, those of the connection. The body is gone when it fails. */
export async function readAnswer(answer: PinnedAnswer, rules: AnswerRules): Promise<ToolResult> {
  try {
    return await read(answer, rules);
  } catch (error) {
    answer.body.destroy();
    throw error;
  }
}

async function read({ status, headers, body }: PinnedAnswer, rules: AnswerRules): Promise<ToolResult> {
  const { credential, bytesMax } = rules;
  checkEncoding(headers);
  if (status < 200 || status > 299) throw await refusal({ status, headers, body }, credential);
  const length = lengthOf(headers);
  if (status === 204 || status === 205 || length === 0) {
    body.resume();
    return { kind: 'value', value: null };
  }
  const contentType = mediaTypeOf(headers);
  checkType(contentType, rules);
  if (length !== undefined && length > bytesMax) throw tooLarge(bytesMax);
  const isJson = /^application\/(?:[a-z0-9.+_-]+\+)?json$/.test(contentType);
  if (length !== undefined && (!isJson || length > httpLimits.valueMaxBytes)) {
    return { kind: 'bytes', bytes: watched(body, credential), sizeBytes: length, contentType };
  }
  const bytes = await readUpTo(body, Math.min(bytesMax, httpLimits.unknownLengthMaxBytes));
  refuseEcho(credential, bytes);
  if (bytes.length === 0) return { kind: 'value', value: null };
  if (!isJson || bytes.length > httpLimits.valueMaxBytes) {
    return { kind: 'bytes', bytes: once(bytes), sizeBytes: bytes.length, contentType };
  }
  const value = parseJson(bytes);
  // What was written with escapes is text now.
  refuseEcho(credential, JSON.stringify(value));
  return { kind: 'value', value };
}

function parseJson(bytes: Buffer): unknown {
  const { valueDepthMaxCount: depthMaxCount, valuesMaxCount } = httpLimits;
  try {
    return parseStrictJson(bytes, { depthMaxCount, valuesMaxCount });
  } catch (error) {
    throw new BulkheadError('tool_failed', 'The service says that its answer is JSON, and it is none that is taken.', {
      hint: BulkheadError.is(error) ? printable(error.message, 200) : 'An operator has to look at what it answers.',
      cause: error,
    });
  }
}

/** No encoding was asked for: one that is there anyway would be a way around every bound. */
function checkEncoding(headers: IncomingHttpHeaders): void {
  const encoding = headers['content-encoding'] ?? 'identity';
  if (encoding.toLowerCase() !== 'identity') throw failed('The service answers in an encoding that was not asked for.');
}

function checkType(contentType: string, { contentTypes }: AnswerRules): void {
  if (contentTypes === undefined || contentTypes.includes(contentType)) return;
  if (contentTypes.includes(`${contentType.slice(0, contentType.indexOf('/'))}/*`)) return;
  throw failed(`The service answers with ${contentType}, which this tool does not take.`);
}

/** Without parameters; what is no media type is bytes. */
function mediaTypeOf(headers: IncomingHttpHeaders): string {
  const [essence = ''] = (headers['content-type'] ?? '').split(';');
  const type = essence.trim().toLowerCase();
  return /^[a-z0-9!#$&^_.+-]{1,64}\/[a-z0-9!#$&^_.+-]{1,64}$/.test(type) ? type : 'application/octet-stream';
}

function lengthOf(headers: IncomingHttpHeaders): number | undefined {
  const length = headers['content-length'];
  return length === undefined || headers['transfer-encoding'] !== undefined ? undefined : Number(length);
}

async function refusal({ status, body }: PinnedAnswer, credential: OpenCredential): Promise<BulkheadError> {
  const bytes = await readStart(body, httpLimits.refusalMaxBytes);
  const text = credential.isIn(bytes) ? '' : printable(bytes.toString('utf8'), httpLimits.refusalMaxLength);
  return new BulkheadError('tool_failed', `The service answered ${status}.`, {
    details: { status, ...(text === '' ? {} : { answer: text }) },
  });
}

async function readUpTo(body: AsyncIterable<Buffer>, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of body) {
    length += chunk.length;
    if (length > maxBytes) throw tooLarge(maxBytes);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

async function readStart(body: AsyncIterable<Buffer>, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of body) {
    chunks.push(chunk);
    length += chunk.length;
    if (length >= maxBytes) break;
  }
  return Buffer.concat(chunks).subarray(0, maxBytes);
}

/** As they come; a credential that begins in one part and ends in the next is seen as well. What was passed on before is not whole, and so is nothing. */
async function* watched(
  body: AsyncIterable<Buffer>,
  credential: OpenCredential,
): AsyncGenerator<Uint8Array, void, void> {
  let end = Buffer.alloc(0);
  for await (const chunk of body) {
    const joined = Buffer.concat([end, chunk]);
    refuseEcho(credential, joined);
    end = joined.subarray(Math.max(0, joined.length - credential.formMaxBytes + 1));
    yield chunk;
  }
}

async function* once(bytes: Buffer): AsyncGenerator<Uint8Array, void, void> {
  yield bytes;
}

function tooLarge(maximum: number): BulkheadError {
  return new BulkheadError('limit_exceeded', `The answer has more than ${maximum} bytes.`, {
    hint: 'Ask for less at once.',
    details: { maximum },
  });
}

function failed(message: string): BulkheadError {
  return new BulkheadError('tool_failed', message, { hint: 'An operator has to look at what the service answers.' });
}
