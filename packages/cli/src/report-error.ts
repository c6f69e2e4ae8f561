import { BulkheadError, type ErrorJson } from '@bulkhead/protocol';
import type { Output } from './output.ts';
import { terminalText } from './terminal-text.ts';

/** Messages may quote the guest, so they are shown like its output. */
export async function reportError(stderr: Output, error: ErrorJson | BulkheadError): Promise<void> {
  const show = (text: string): string => (stderr.isTty ? terminalText(text) : text);
  await stderr.freshLine();
  await stderr.line(`${stderr.style('red', `bulkhead: ${error.code}:`)} ${show(error.message)}`);
  if (error.hint !== undefined) await stderr.line(stderr.style('dim', `  ${show(error.hint)}`));
  // Whoever runs the command is the operator of this host, and sees what a client of a server would not.
  for (const cause of causesOf(error)) await stderr.line(stderr.style('dim', `  because: ${show(cause)}`));
}

const causesMaxCount = 5;

function causesOf(error: ErrorJson | BulkheadError): readonly string[] {
  const causes: string[] = [];
  let cause = error instanceof Error ? error.cause : undefined;
  while (cause instanceof Error && causes.length < causesMaxCount) {
    causes.push(cause.message);
    cause = cause.cause;
  }
  return causes;
}

export function toBulkheadError(error: unknown): BulkheadError {
  if (BulkheadError.is(error)) return error;
  if (error instanceof SuppressedError) return toBulkheadError(error.error);
  const detail = error instanceof Error ? error.message : String(error);
  return new BulkheadError('internal', `Bulkhead failed: ${detail}`, {
    hint: 'This is a defect of Bulkhead. Please report it with what you ran.',
    cause: error,
  });
}
