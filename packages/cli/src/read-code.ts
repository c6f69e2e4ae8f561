import { createReadStream } from 'node:fs';
import { resolve } from 'node:path';
import type { Readable } from 'node:stream';
import { BulkheadError, limits } from '@bulkhead/protocol';
import type { CommandContext, CommandInput } from './command.ts';

/** The code of a `run`: its argument, the file of `-f`, or standard input. Errors: `invalid_request`, `limit_exceeded`. */
export async function readCode(context: CommandContext, input: CommandInput, signal: AbortSignal): Promise<string> {
  const [argument, ...more] = input.positionals;
  const file = input.text('script');
  if (more.length > 0 || (argument !== undefined && file !== undefined)) {
    throw new BulkheadError(
      'invalid_request',
      'The code comes from one place: an argument, -f FILE, or standard input.',
      {
        hint: 'Put quotes around the code, so that the shell passes it as one argument.',
      },
    );
  }
  if (argument !== undefined && argument !== '-') return argument;
  if (file !== undefined && file !== '-') {
    const path = resolve(context.workingDir, file);
    return await readText(createReadStream(path), path, signal);
  }
  if (argument === undefined && file === undefined && context.stdinIsTty) {
    throw new BulkheadError('invalid_request', 'There is no code to run.', {
      hint: `Try \`bulkhead run 'print(6*7)'\`, or \`bulkhead shell\` for a session; \`bulkhead run --help\` shows more.`,
    });
  }
  return await readText(context.stdin, 'standard input', signal);
}

async function readText(stream: Readable, name: string, signal: AbortSignal): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  const onAbort = (): void => void stream.destroy(new BulkheadError('cancelled', 'Stopped by a signal.'));
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    for await (const chunk of stream) {
      const piece = Buffer.from(chunk);
      bytes += piece.length;
      if (bytes > limits.codeMaxBytes) {
        throw new BulkheadError('limit_exceeded', `The code from ${name} has more than ${limits.codeMaxBytes} bytes.`, {
          hint: 'Give the session large data with --file.',
        });
      }
      chunks.push(piece);
    }
  } catch (error) {
    if (BulkheadError.is(error)) throw error;
    throw new BulkheadError('invalid_request', `The code from ${name} cannot be read.`, {
      hint: error instanceof Error ? error.message : String(error),
      cause: error,
    });
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
  return new TextDecoder().decode(Buffer.concat(chunks));
}
