// JSON from the guest. Depth and number of values are counted on the bytes before anything is built from them.

import { isUtf8 } from 'node:buffer';
import type { z } from 'zod';
import { printable } from '../lib/printable.ts';
import { channelLimits } from './channel-limits.ts';
import { ProtocolViolation } from './frame.ts';

const quote = 0x22;
const backslash = 0x5c;
const comma = 0x2c;
const openBracket = 0x5b;
const closeBracket = 0x5d;
const openBrace = 0x7b;
const closeBrace = 0x7d;

/** Counts brackets and commas outside strings; whether the text is JSON at all is for the parser to say. */
function checkShape(bytes: Buffer): void {
  let depth = 0;
  let values = 0;
  let inString = false;
  for (let index = 0; index < bytes.length; index += 1) {
    const byte = bytes[index];
    if (inString) {
      if (byte === backslash) index += 1;
      else if (byte === quote) inString = false;
    } else if (byte === quote) inString = true;
    else if (byte === openBracket || byte === openBrace) {
      depth += 1;
      values += 1;
      if (depth > channelLimits.jsonMaxDepth) throw new ProtocolViolation('JSON is nested too deeply');
    } else if (byte === closeBracket || byte === closeBrace) depth -= 1;
    else if (byte === comma) {
      values += 1;
      if (values > channelLimits.jsonMaxValues) throw new ProtocolViolation('JSON has too many values');
    }
  }
}

/** One JSON value, bounded in depth and number of values; the caller has bounded its bytes. Throws `ProtocolViolation`. */
export function parseJson(bytes: Buffer): unknown {
  if (!isUtf8(bytes)) throw new ProtocolViolation('JSON is not UTF-8');
  checkShape(bytes);
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    throw new ProtocolViolation('JSON is malformed');
  }
}

/** A JSON object of the shape that `schema` describes. `what` names the message in the violation. */
export function parseMessage<T>(bytes: Buffer, schema: z.ZodType<T>, what: string): T {
  return checkMessage(parseJson(bytes), schema, what);
}

export function checkMessage<T>(value: unknown, schema: z.ZodType<T>, what: string): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  // The path may hold a name that the guest chose.
  const path = printable((issue?.path ?? []).map(String).join('.'), 60).replaceAll(/[^\w.-]/g, '?');
  throw new ProtocolViolation(`${what}: ${issue?.code ?? 'invalid'}${path === '' ? '' : ` at ${path}`}`);
}
