// Files, commands, processes, terminals and ports of a session.

import { z } from 'zod';
import { idSchema } from '../ids.ts';
import { limits } from '../limits.ts';
import { guestPathSchema, timeSchema, withoutNul } from './common.ts';

const sessionParam = { session: idSchema('session') };

const fileStat = {
  kind: z.enum(['file', 'directory', 'symlink', 'other']),
  sizeBytes: z.number(),
  mode: z.int(),
  modifiedAt: timeSchema,
};
export const fileStatSchema = z.object(fileStat).meta({ id: 'FileStat' });
export const fileEntrySchema = z.object({ name: z.string(), ...fileStat }).meta({ id: 'FileEntry' });
export const fileList = z
  .object({ items: z.array(fileEntrySchema), truncated: z.boolean().meta({ description: 'The directory has more.' }) })
  .meta({ id: 'FileList' });
export const fileQuery = z.strictObject({ path: guestPathSchema });
export const removeFileQuery = z.strictObject({ path: guestPathSchema, recursive: z.boolean().default(false) });
export const moveFileBody = z.strictObject({ from: guestPathSchema, to: guestPathSchema }).meta({ id: 'MoveFile' });
export const makeDirectoryBody = z.strictObject({ path: guestPathSchema }).meta({ id: 'MakeDirectory' });
export const fileWritten = z.object({ path: z.string(), sizeBytes: z.number() }).meta({ id: 'FileWritten' });

const argv = z
  .array(
    z
      .string()
      .max(limits.argumentMaxLength)
      .refine((text) => !text.includes('\0'), { message: 'an argument has no NUL' })
      .meta({ pattern: withoutNul }),
  )
  .min(1)
  .max(limits.argumentsMaxCount)
  .meta({ description: 'The program and its arguments; no shell is between.' });
const env = z
  .record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,127}$/), z.string().max(limits.argumentMaxLength))
  .refine((entries) => Object.keys(entries).length <= limits.environmentMaxCount, {
    message: `at most ${limits.environmentMaxCount} variables`,
  })
  .meta({ maxProperties: limits.environmentMaxCount });
const command = { argv, cwd: guestPathSchema.exactOptional(), env: env.exactOptional() };

const base64Pattern = '^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$';
export const runCommandBody = z
  .strictObject({
    ...command,
    stdin: z.string().max(limits.commandInputMaxLength).exactOptional(),
    stdinEncoding: z.enum(['utf8', 'base64']).default('utf8'),
    timeoutMs: z.int().min(1).max(limits.turnTimeoutMaxMs).default(limits.turnTimeoutDefaultMs),
  })
  // What bytes are written like is known when the encoding is: here it is said to who reads the schema.
  .meta({
    id: 'RunCommand',
    if: { properties: { stdinEncoding: { const: 'base64' } }, required: ['stdinEncoding'] },
    // oxlint-disable-next-line unicorn/no-thenable -- a word of JSON schema, in what nobody awaits
    then: { properties: { stdin: { pattern: base64Pattern } } },
  });
export const commandResultSchema = z
  .object({
    exitCode: z.int().nullable(),
    signal: z.int().nullable(),
    timedOut: z.boolean(),
    stdout: z.string(),
    stderr: z.string(),
    truncated: z.object({ stdoutBytes: z.number(), stderrBytes: z.number() }),
    elapsedMs: z.number(),
  })
  .meta({ id: 'CommandResult' });
export type CommandResult = z.infer<typeof commandResultSchema>;
/** What a command sends as `text/event-stream`; the last one is `end`. */
export const commandEventSchema = z
  .discriminatedUnion('type', [
    z.object({ type: z.enum(['stdout', 'stderr']), text: z.string() }),
    z.object({ type: z.literal('end'), result: commandResultSchema.omit({ stdout: true, stderr: true }) }),
  ])
  .meta({ id: 'CommandEvent' });
export type CommandEvent = z.infer<typeof commandEventSchema>;

const processName = z.string().regex(/^[A-Za-z0-9_-]{1,64}$/);
export const processParams = z.object({ ...sessionParam, process: processName });
export const startProcessBody = z.strictObject(command).meta({ id: 'StartProcess' });
export const processStarted = z.object({ process: processName }).meta({ id: 'ProcessStarted' });
export const processSchema = z
  .object({
    process: processName,
    argv: z.array(z.string()),
    running: z.boolean(),
    exitCode: z.int().nullable(),
    signal: z.int().nullable(),
    outputBytes: z.number(),
  })
  .meta({ id: 'Process' });
export const processList = z.object({ items: z.array(processSchema) }).meta({ id: 'ProcessList' });

const cells = z.int().min(1).max(1000);
export const terminalQuery = z.strictObject({
  columns: cells.default(80),
  rows: cells.default(24),
  command: z
    .string()
    .min(1)
    .max(limits.argumentMaxLength)
    .exactOptional()
    .meta({ description: 'Run by bash in place of a login shell.' }),
});
export const terminalTokenSchema = z
  .object({
    token: z.string().meta({ description: 'Opens one terminal of this session, once.' }),
    expiresAt: timeSchema,
  })
  .meta({ id: 'TerminalToken' });
/** Text frames of a terminal's client; binary frames are what is typed. The server sends what is printed as binary frames. */
export const terminalControlSchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('resize'), columns: cells, rows: cells }),
  z.strictObject({ type: z.literal('interrupt') }),
]);
/** The one text frame of the server, its last. */
export const terminalEndSchema = z.object({
  type: z.literal('exit'),
  exitCode: z.int().nullable(),
  signal: z.int().nullable(),
});

const portNumber = z.int().min(1).max(65_535);
export const portParams = z.object({ ...sessionParam, port: idSchema('port') });
export const exposePortBody = z
  .strictObject({
    port: portNumber,
    expiresInSeconds: z.int().min(1).max(limits.portTokenMaxSeconds).default(limits.portTokenDefaultSeconds),
  })
  .meta({ id: 'ExposePort' });
const port = {
  id: idSchema('port'),
  port: portNumber,
  path: z
    .string()
    .meta({ description: 'Where it is: a path of this server, or an address where ports have their own.' }),
  expiresAt: timeSchema,
};
export const portSchema = z.object(port).meta({ id: 'Port' });
export type PortResource = z.infer<typeof portSchema>;
export const exposedPort = z
  .object({ ...port, token: z.string().meta({ description: 'Shown this once.' }) })
  .meta({ id: 'ExposedPort' });
export const portList = z.object({ items: z.array(portSchema) }).meta({ id: 'PortList' });
