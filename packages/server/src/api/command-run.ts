// A command of a session, run to its end: its output is kept within bounds while it runs, for whoever follows it and for its result. A guest that
// floods, or does not confirm a kill, costs no more than that.

import { BulkheadError, type CommandEvent, type CommandResult, limits } from '@bulkhead/protocol';
import { OutputDecoder } from '../sessions/output-decoder.ts';
import type { GuestExec, SessionGuest } from '../sessions/session-guest.ts';

export interface CommandRequest {
  readonly argv: readonly string[];
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: string;
  readonly stdinEncoding: 'utf8' | 'base64';
  readonly timeoutMs: number;
}

type Stream = 'stdout' | 'stderr';
const streams: readonly Stream[] = ['stdout', 'stderr'];

export class CommandRun {
  readonly result: Promise<CommandResult>;
  readonly #kept: Readonly<Record<Stream, KeptOutput>> = { stdout: new KeptOutput(), stderr: new KeptOutput() };
  #changed = Promise.withResolvers<void>();
  #ended = false;

  private constructor(exec: GuestExec, timeoutMs: number, signal: AbortSignal | undefined) {
    this.result = this.#run(exec, timeoutMs, signal).finally(() => {
      this.#ended = true;
      this.#tell();
    });
    this.result.catch(() => undefined);
  }

  /** Aborting `signal` kills it. Errors: `invalid_request`; of `result`: those of the guest. */
  static start(
    guest: SessionGuest,
    request: CommandRequest,
    options: { readonly signal?: AbortSignal } = {},
  ): CommandRun {
    const { argv, cwd, env, stdin, stdinEncoding, timeoutMs } = request;
    const input = stdin === undefined ? undefined : toBytes(stdin, stdinEncoding);
    const exec = guest.exec({
      argv,
      ...(cwd === undefined ? {} : { cwd }),
      ...(env === undefined ? {} : { env }),
      ...(input === undefined ? {} : { stdin: once(input) }),
    });
    return new CommandRun(exec, timeoutMs, options.signal);
  }

  async #run(exec: GuestExec, timeoutMs: number, signal: AbortSignal | undefined): Promise<CommandResult> {
    const started = performance.now();
    const killed = Promise.withResolvers<null>();
    let timedOut = false;
    let givingUp: NodeJS.Timeout | undefined;
    const kill = (): void => {
      exec.kill();
      givingUp ??= setTimeout(() => killed.resolve(null), limits.killGraceMs);
    };
    const late = setTimeout(() => {
      timedOut = true;
      kill();
    }, timeoutMs);
    signal?.addEventListener('abort', kill, { once: true });
    if (signal?.aborted === true) kill();
    const output = exec.output[Symbol.asyncIterator]();
    try {
      const outcome = await Promise.race([Promise.all([exec.outcome, this.#collect(output)]), killed.promise]);
      const [{ exitCode, signal: endedBy }] = outcome ?? [{ exitCode: null, signal: null }];
      if (outcome === null) await output.return?.();
      const { stdout, stderr } = this.#kept;
      return {
        exitCode,
        signal: endedBy,
        timedOut,
        stdout: stdout.text(),
        stderr: stderr.text(),
        truncated: { stdoutBytes: stdout.droppedBytes, stderrBytes: stderr.droppedBytes },
        elapsedMs: performance.now() - started,
      };
    } finally {
      clearTimeout(late);
      clearTimeout(givingUp);
      signal?.removeEventListener('abort', kill);
    }
  }

  async #collect(output: AsyncIterator<{ readonly stream: Stream; readonly bytes: Uint8Array }>): Promise<void> {
    for (let next = await output.next(); next.done !== true; next = await output.next()) {
      this.#kept[next.value.stream].append(next.value.bytes);
      this.#tell();
    }
  }

  /** What it prints as it prints it, then its end; a reader that is slow gets more at once. `result` may be what became of it elsewhere. */
  async *events(result: Promise<CommandResult> = this.result): AsyncGenerator<CommandEvent, void, void> {
    const readers = { stdout: this.#kept.stdout.read(), stderr: this.#kept.stderr.read() };
    for (let ended = false; !ended;) {
      ended = this.#ended;
      const changed = this.#changed.promise;
      for (const type of streams) {
        const text = readers[type](ended);
        if (text !== '') yield { type, text };
      }
      if (!ended) await changed;
    }
    yield endOf(await result);
  }

  #tell(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}

/** The same of a command that has ended. */
export async function* eventsOf(result: CommandResult): AsyncGenerator<CommandEvent, void, void> {
  for (const type of streams) if (result[type] !== '') yield { type, text: result[type] };
  yield endOf(result);
}

function endOf({ exitCode, signal, timedOut, truncated, elapsedMs }: CommandResult): CommandEvent {
  return { type: 'end', result: { exitCode, signal, timedOut, truncated, elapsedMs } };
}

/** The first bytes of a stream; those that follow are counted. */
class KeptOutput {
  droppedBytes = 0;
  #bytes = Buffer.alloc(0);
  #length = 0;

  append(bytes: Uint8Array): void {
    const room = limits.commandOutputMaxBytes - this.#length;
    const kept = bytes.length <= room ? bytes : bytes.subarray(0, room);
    this.droppedBytes += bytes.length - kept.length;
    const needed = this.#length + kept.length;
    if (needed > this.#bytes.length) {
      const grown = Buffer.alloc(
        Math.min(Math.max(needed, 2 * this.#bytes.length, 4096), limits.commandOutputMaxBytes),
      );
      this.#bytes.copy(grown, 0, 0, this.#length);
      this.#bytes = grown;
    }
    this.#bytes.set(kept, this.#length);
    this.#length = needed;
  }

  /** A reader: each call answers with what came since the one before. */
  read(): (isLast: boolean) => string {
    const decoder = new OutputDecoder();
    let position = 0;
    return (isLast) => {
      const text = decoder.decode(this.#bytes.subarray(position, this.#length));
      position = this.#length;
      // A character that our own bound cut is left out.
      return isLast && this.droppedBytes === 0 ? text + decoder.end() : text;
    };
  }

  text(): string {
    return this.read()(true);
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, void> {
  const chunkBytes = 65_536;
  for (let at = 0; at < bytes.length; at += chunkBytes) yield bytes.subarray(at, at + chunkBytes);
}

function toBytes(text: string, encoding: 'utf8' | 'base64'): Uint8Array {
  const bytes = Buffer.from(text, encoding);
  if (encoding === 'utf8' || bytes.toString('base64') === text) return bytes;
  throw new BulkheadError('invalid_request', 'The input of the command is not base64.', {
    details: { problems: ['body.stdin: not base64'] },
  });
}
