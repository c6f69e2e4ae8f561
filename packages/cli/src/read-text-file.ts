import { open } from 'node:fs/promises';
import { resolve } from 'node:path';
import { BulkheadError } from '@bulkhead/protocol';
import type { CommandContext } from './command.ts';

const maxBytes = 8_388_608;

/** A file that a command is given, as text. Errors: `invalid_request`, `limit_exceeded`. */
export async function readTextFile({ workingDir }: CommandContext, name: string): Promise<string> {
  try {
    await using file = await open(resolve(workingDir, name));
    const { size } = await file.stat();
    if (size <= maxBytes) return await file.readFile('utf8');
  } catch (error) {
    throw new BulkheadError('invalid_request', `${JSON.stringify(name)} cannot be read.`, {
      hint: error instanceof Error ? error.message : String(error),
      cause: error,
    });
  }
  throw new BulkheadError('limit_exceeded', `${JSON.stringify(name)} has more than ${maxBytes} bytes.`);
}

/** The same as JSON. Errors: `invalid_request`, `limit_exceeded`. */
export async function readJsonFile(context: CommandContext, name: string): Promise<unknown> {
  const text = await readTextFile(context, name);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new BulkheadError('invalid_request', `${JSON.stringify(name)} is not JSON.`, {
      hint: error instanceof Error ? error.message : String(error),
      cause: error,
    });
  }
}
