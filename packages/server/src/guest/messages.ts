// All that a guest may say in JSON. Unknown members are dropped; every string, list and number has a bound here or, where a
// text is shortened instead, by the size of its message.

import { type GuestException, type MimeBundle, languages, limits } from '@bulkhead/protocol';
import { z } from 'zod';
import { channelLimits } from './channel-limits.ts';
import type { BackgroundProcess, ContextInfo } from './guest.ts';

const count = z.int().min(0).max(Number.MAX_SAFE_INTEGER);
const exitCode = z.int().min(-2_147_483_648).max(4_294_967_295).nullable();
const signalNumber = z.int().min(0).max(255).nullable();
const nanoseconds = z
  .string()
  .regex(/^-?\d{1,20}$/)
  .transform((text) => Number(BigInt(text)) / 1e6);
const durationMs = nanoseconds.refine((value) => value >= 0);
const shortText = (maxLength: number): z.ZodType<string> =>
  z.string().transform((text) => text.slice(0, maxLength).toWellFormed());
const base64of32 = z.string().regex(/^[A-Za-z0-9+/]{43}=$/);
const contextName = z.string().min(1).max(256);
const language = z.enum(languages);

export const nothingSchema: z.ZodType = z.object({}).transform(() => undefined);

export interface Hello {
  readonly version: number;
}
export const helloSchema: z.ZodType<Hello> = z.object({
  version: z.literal(channelLimits.protocolVersion),
  agent: z.string().max(64),
  contexts: z.array(z.string().max(256)).max(limits.contextsMaxCount),
});

export interface Confirm {
  readonly epoch: number;
  readonly proof: string;
  readonly bootId: string;
  readonly unixTimeNs: number;
}
/** `unixTimeNs` comes out in milliseconds with a fraction. */
export const confirmSchema: z.ZodType<Confirm> = z.object({
  epoch: z.int().min(1).max(channelLimits.epochMax),
  proof: base64of32,
  bootId: z.string().regex(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/),
  unixTimeNs: durationMs,
});

export const guestErrorCodes = [
  'invalid',
  'not_found',
  'exists',
  'denied',
  'no_space',
  'not_a_directory',
  'is_a_directory',
  'too_large',
  'busy',
  'cancelled',
  'limit',
  'io',
  'refused',
  'reset',
] as const;
export type GuestErrorCode = (typeof guestErrorCodes)[number];

export type Close =
  | { readonly ok: true; readonly result: unknown }
  | { readonly ok: false; readonly error: { readonly code: GuestErrorCode; readonly message: string } };
export const closeSchema: z.ZodType<Close> = z.discriminatedUnion('ok', [
  z.object({ ok: z.literal(true), result: z.unknown() }),
  z.object({
    ok: z.literal(false),
    error: z.object({
      code: z.enum(guestErrorCodes),
      message: shortText(channelLimits.errorMessageMaxLength * 4),
    }),
  }),
]);

export interface RunResult {
  readonly status: 'ok' | 'error' | 'interrupted' | 'died';
  readonly elapsedNs: number;
  readonly dropped: { readonly stdout: number; readonly stderr: number; readonly events: number };
  readonly fate: 'kept' | 'lost';
  readonly exitCode: number | null;
  readonly signal: number | null;
}
/** `elapsedNs`, here and below, comes out in milliseconds with a fraction. */
export const runResultSchema: z.ZodType<RunResult> = z.object({
  status: z.enum(['ok', 'error', 'interrupted', 'died']),
  elapsedNs: durationMs,
  dropped: z.object({ stdout: count, stderr: count, events: count }),
  fate: z.enum(['kept', 'lost']),
  exitCode,
  signal: signalNumber,
});

export type ExecResult = Pick<RunResult, 'exitCode' | 'signal' | 'elapsedNs'>;
export const execResultSchema: z.ZodType<ExecResult> = z.object({
  exitCode,
  signal: signalNumber,
  elapsedNs: durationMs,
});

export const contextListSchema: z.ZodType<{ readonly contexts: readonly ContextInfo[] }> = z.object({
  contexts: z
    .array(z.object({ language, context: contextName, alive: z.boolean(), busy: z.boolean() }))
    .max(limits.contextsMaxCount * languages.length),
});

const processName = z.string().regex(/^[A-Za-z0-9_-]{1,64}$/);
export const processStartSchema: z.ZodType<{ readonly process: string }> = z.object({ process: processName });
export const processListSchema: z.ZodType<{ readonly processes: readonly BackgroundProcess[] }> = z.object({
  processes: z
    .array(
      z.object({
        process: processName,
        argv: z.array(z.string()).max(4096),
        running: z.boolean(),
        exitCode,
        signal: signalNumber,
        outputBytes: count,
      }),
    )
    .max(1024),
});
export const processOutputSchema: z.ZodType = z.object({ skippedBytes: count });
export const processKillSchema: z.ZodType = z.object({ exitCode, signal: signalNumber });

export const sizeSchema: z.ZodType<{ readonly size: number }> = z.object({ size: count });
export const fileListSchema: z.ZodType<{ readonly truncated: boolean }> = z.object({ truncated: z.boolean() });

export interface FileStatMessage {
  readonly kind: 'file' | 'directory' | 'symlink' | 'other';
  readonly size: number;
  readonly mode: number;
  readonly modifiedNs: number;
}
const statShape = z.object({
  kind: z.enum(['file', 'directory', 'symlink', 'other']),
  size: count,
  mode: z.int().min(0).max(0xffff_ffff),
  modifiedNs: nanoseconds,
});
/** `modifiedNs` comes out in milliseconds with a fraction. */
export const fileStatSchema: z.ZodType<FileStatMessage> = statShape;
/** A name that is a path would let a guest choose where a host that mirrors a folder writes. */
export const fileEntrySchema: z.ZodType<FileStatMessage & { readonly name: string }> = statShape.extend({
  name: z
    .string()
    .min(1)
    .max(limits.pathMaxBytes)
    .refine((name) => name !== '.' && name !== '..' && !name.includes('/') && !name.includes('\0')),
});

export interface InfoMessage {
  readonly memoryFreeBytes: number;
  readonly scratchFreeBytes: number;
  readonly processes: number;
}
export const infoSchema: z.ZodType<InfoMessage> = z.object({
  memoryFreeBytes: count,
  scratchFreeBytes: count,
  processes: count,
});

export type CallMessage =
  | {
      readonly type: 'call';
      readonly call: number;
      readonly tool: string;
      readonly operation: string;
      readonly arguments: string;
    }
  | { readonly type: 'cancel'; readonly call: number };
/** What guest code asks of its tools. `arguments` is text that nobody has looked at yet. */
export const callMessageSchema: z.ZodType<CallMessage> = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('call'),
    call: count,
    tool: z.string().max(channelLimits.toolNameMaxLength),
    operation: z.string().max(channelLimits.toolNameMaxLength),
    arguments: z.string().max(channelLimits.callArgumentsMaxLength),
  }),
  z.object({ type: z.literal('cancel'), call: count }),
]);

/** Guest code wants out: the host opens a stream for it. */
export const egressMessageSchema: z.ZodType<{ readonly connection: number }> = z.object({
  type: z.literal('connect'),
  connection: count,
});

/** The first and only message of a connection. */
export const connectedSchema: z.ZodType = z.object({ type: z.literal('connected') });

const mimeType = /^[a-z0-9][a-z0-9!#$&^_.+-]*\/[a-z0-9][a-z0-9!#$&^_.+-]*$/i;

/** A copy whose texts are well formed and in which no object has a member `__proto__`. The depth is bounded by the parser. */
function cleanValue(value: unknown): unknown {
  if (typeof value === 'string') return value.toWellFormed();
  if (Array.isArray(value)) return value.map(cleanValue);
  if (typeof value !== 'object' || value === null) return value;
  const clean: Record<string, unknown> = {};
  for (const [name, member] of Object.entries(value)) {
    if (name !== '__proto__') clean[name.toWellFormed()] = cleanValue(member);
  }
  return clean;
}

const mimeBundle = z
  .custom<MimeBundle>((value) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
    const names = Object.keys(value);
    return (
      names.length <= channelLimits.mimeTypesMaxCount &&
      names.every((name) => name.length <= channelLimits.mimeTypeMaxLength && mimeType.test(name))
    );
  })
  .transform((bundle): MimeBundle =>
    Object.fromEntries(Object.entries(bundle).map(([type, value]) => [type, cleanValue(value)])),
  );

const frames = z
  .array(z.unknown())
  .transform((list) => list.slice(0, limits.traceDepthMaxCount))
  .pipe(
    z.array(
      z.object({
        file: shortText(limits.pathMaxBytes),
        line: z.int().min(0).max(Number.MAX_SAFE_INTEGER),
        name: shortText(channelLimits.exceptionNameMaxLength),
        source: shortText(channelLimits.sourceMaxLength).exactOptional(),
      }),
    ),
  );

export type RunMessage =
  | { readonly type: 'result' | 'display'; readonly data: MimeBundle }
  | ({ readonly type: 'exception' } & GuestException);
export const runMessageSchema: z.ZodType<RunMessage> = z.discriminatedUnion('type', [
  z.object({ type: z.enum(['result', 'display']), data: mimeBundle }),
  z.object({
    type: z.literal('exception'),
    name: shortText(channelLimits.exceptionNameMaxLength),
    value: shortText(channelLimits.exceptionValueMaxLength),
    traceback: shortText(channelLimits.tracebackMaxLength),
    frames,
  }),
]);
