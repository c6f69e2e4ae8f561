// A secret from a person or a pipe. Not from an argument: whoever lists processes would see it, and the shell would keep it.

import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';
import { BulkheadError, limits } from '@bulkhead/protocol';
import type { CommandContext } from './command.ts';
import { readLines } from './read-lines.ts';

const noApiKey = {
  message: 'There is no API key to log in with.',
  hint: 'Type it at the prompt, or pipe it: `bulkhead login URL < key-file`.',
};

/** The first line of standard input; typed without being shown. Errors: `invalid_request`, `cancelled`. */
export async function readSecret(context: CommandContext, prompt: string, missing = noApiKey): Promise<string> {
  const { stdin, stdinIsTty, stderr, interrupts } = context;
  const stop = new AbortController();
  using _interrupts = interrupts.during(() => stop.abort());
  const signal = AbortSignal.any([stop.signal, interrupts.ended]);
  let line = '';
  if (stdinIsTty) {
    await stderr.write(prompt);
    line = await readHidden(context, signal);
    await stderr.write('\n');
  } else {
    for await (const read of readLines(stdin, signal)) {
      line = read;
      break;
    }
  }
  if (signal.aborted) throw new BulkheadError('cancelled', 'Stopped by a signal.');
  const secret = line.trim();
  if (secret !== '') return secret;
  throw new BulkheadError('invalid_request', missing.message, { hint: missing.hint });
}

/** All of standard input, of several lines maybe, without the line end that a file has; at a prompt, a line. Errors: as `readSecret`, `limit_exceeded`. */
export async function readSecretValue(context: CommandContext, prompt: string): Promise<string> {
  const missing = { message: 'There is no secret.', hint: 'Type it at the prompt, or pipe it: `… < secret-file`.' };
  if (context.stdinIsTty) return await readSecret(context, prompt, missing);
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of context.stdin) {
    const piece = Buffer.from(chunk);
    bytes += piece.length;
    if (bytes > limits.secretMaxLength * 4) {
      throw new BulkheadError('limit_exceeded', `A secret has at most ${limits.secretMaxLength} characters.`);
    }
    chunks.push(piece);
  }
  const secret = new TextDecoder().decode(Buffer.concat(chunks)).replace(/\r?\n$/, '');
  if (secret !== '') return secret;
  throw new BulkheadError('invalid_request', missing.message, { hint: missing.hint });
}

async function readHidden({ stdin }: CommandContext, signal: AbortSignal): Promise<string> {
  // The terminal is in raw mode while a line is edited: what is typed is shown by whoever edits, and here nobody does.
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  const readline = createInterface({ input: stdin, output: nowhere, terminal: true });
  const read = Promise.withResolvers<string>();
  const onAbort = (): void => read.resolve('');
  signal.addEventListener('abort', onAbort, { once: true });
  readline.once('line', (line) => read.resolve(line));
  readline.once('close', () => read.resolve(''));
  readline.once('SIGINT', () => read.reject(new BulkheadError('cancelled', 'Stopped by Ctrl-C.')));
  try {
    return await read.promise;
  } finally {
    signal.removeEventListener('abort', onAbort);
    readline.close();
  }
}
