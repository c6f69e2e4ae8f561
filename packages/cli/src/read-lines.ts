import type { Readable } from 'node:stream';
import { BulkheadError, limits } from '@bulkhead/protocol';

/** The lines of a stream as they come, without their ends. Stops quietly at `signal`. Errors: `limit_exceeded` for a line without end. */
export async function* readLines(stream: Readable, signal: AbortSignal): AsyncGenerator<string, void, void> {
  const decoder = new TextDecoder();
  const onAbort = (): void => void stream.destroy();
  signal.addEventListener('abort', onAbort, { once: true });
  let parts: string[] = [];
  let waiting = 0;
  try {
    for await (const chunk of stream) {
      const pieces = decoder.decode(Buffer.from(chunk), { stream: true }).split('\n');
      const last = pieces.pop() ?? '';
      for (const piece of pieces) {
        yield withoutReturn(parts.join('') + piece);
        parts = [];
        waiting = 0;
      }
      parts.push(last);
      waiting += last.length;
      if (waiting > limits.codeMaxBytes) throw new BulkheadError('limit_exceeded', 'A line of the input has no end.');
    }
    const rest = parts.join('') + decoder.decode();
    if (rest !== '') yield withoutReturn(rest);
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

function withoutReturn(line: string): string {
  return line.endsWith('\r') ? line.slice(0, -1) : line;
}
