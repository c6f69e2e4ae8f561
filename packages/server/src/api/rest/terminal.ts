// A terminal in a session, and the WebSocket of who sits at it. Each side is taken as fast as the other one takes it; when either goes, both end.

import { BulkheadError, limits, terminalControlSchema } from '@bulkhead/protocol';
import type { RawData, WebSocket } from 'ws';
import type { GuestExec } from '../../guest/guest.ts';
import type { Clock } from '../../lib/clock.ts';
import { Notifier } from '../../lib/notifier.ts';
import type { SessionGuest } from '../../sessions/session-guest.ts';

export interface TerminalRequest {
  readonly columns: number;
  readonly rows: number;
  readonly command?: string | undefined;
}

export interface TerminalOptions {
  readonly clock: Clock;
  /** Aborted when the server stops. */
  readonly stopping: AbortSignal;
  /** Looked at as often as the client is asked whether it is there. Rejects when who opened it may not have it any more. */
  readonly checkAccess: () => Promise<unknown>;
}

/** What was typed and the guest has not taken; beyond it the client has to wait. */
const waitingMaxBytes = 262_144;
const controlMaxBytes = 4096;
/** Signals cost the guest more than they cost who sends them: of those that come close together, the last counts. */
const controlStepMs = 20;

const closeCodes = { ended: 1000, stopping: 1001, unacceptable: 1008, failed: 1011 } as const;

/** Resolves when both have ended; never rejects. */
export async function runTerminal(
  socket: WebSocket,
  guest: SessionGuest,
  { columns, rows, command }: TerminalRequest,
  options: TerminalOptions,
): Promise<void> {
  const typed = new TypedInput(socket);
  const exec = guest.exec({
    argv: command === undefined ? ['bash', '-l'] : ['bash', '-lc', command],
    pty: { columns, rows },
    stdin: typed,
  });
  const controls = new Controls(exec, options.clock);
  const leave = (code: number, reason: string): void => {
    socket.close(code, reason);
    typed.end();
    exec.kill();
  };
  const stopAsking = askWhetherThere(socket, options, leave);
  const onStopping = (): void => leave(closeCodes.stopping, 'server_stopping');
  options.stopping.addEventListener('abort', onStopping, { once: true });
  socket.on('message', (data, isBinary) => {
    const bytes = toBuffer(data);
    if (isBinary) typed.push(bytes);
    else if (!controls.take(bytes)) leave(closeCodes.unacceptable, 'invalid_request');
  });
  socket.once('close', () => {
    typed.end();
    exec.kill();
  });
  if (options.stopping.aborted) onStopping();
  try {
    for await (const { bytes } of exec.output) await send(socket, bytes);
    const { exitCode, signal } = await exec.outcome;
    socket.send(JSON.stringify({ type: 'exit', exitCode, signal }));
    socket.close(closeCodes.ended);
  } catch (error) {
    socket.close(closeCodes.failed, BulkheadError.is(error) ? error.code : 'internal');
  } finally {
    stopAsking();
    controls.stop();
    typed.end();
    options.stopping.removeEventListener('abort', onStopping);
  }
}

/** Resolves when the client takes more: when it has gone, at once, so that the terminal can come to its end. */
function send(socket: WebSocket, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    if (socket.readyState === socket.OPEN) socket.send(bytes, { binary: true }, () => resolve());
    else resolve();
  });
}

/** A client that went without saying so would keep its session awake. */
function askWhetherThere(
  socket: WebSocket,
  { clock, checkAccess }: TerminalOptions,
  leave: (code: number, reason: string) => void,
): () => void {
  const stepMs = limits.terminalSilenceMs / 3;
  let heardMs = clock.nowMs();
  const heard = (): void => {
    heardMs = clock.nowMs();
  };
  socket.on('message', heard);
  socket.on('pong', heard);
  let cancel = clock.after(stepMs, ask);
  return () => cancel();

  function ask(): void {
    // Who is not read cannot be heard.
    if (socket.isPaused) heard();
    if (clock.nowMs() - heardMs >= limits.terminalSilenceMs) {
      leave(closeCodes.unacceptable, 'silent');
      socket.terminate();
      return;
    }
    if (socket.readyState === socket.OPEN) socket.ping();
    checkAccess().catch((error: unknown) => {
      const isRefused = BulkheadError.is(error, 'unauthenticated') || BulkheadError.is(error, 'forbidden');
      if (isRefused) leave(closeCodes.unacceptable, error.code);
    });
    cancel = clock.after(stepMs, ask);
  }
}

/** What is typed, for the guest to take; a client that types faster is read no further. */
class TypedInput implements AsyncIterable<Uint8Array> {
  readonly #socket: WebSocket;
  readonly #changed = new Notifier();
  readonly #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #ended = false;

  constructor(socket: WebSocket) {
    this.#socket = socket;
  }

  push(bytes: Buffer): void {
    if (this.#ended || bytes.length === 0) return;
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    if (this.#waitingBytes >= waitingMaxBytes) this.#socket.pause();
    this.#changed.notify();
  }

  end(): void {
    this.#ended = true;
    this.#waiting.length = 0;
    this.#socket.resume();
    this.#changed.notify();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, void> {
    while (!this.#ended) {
      const bytes = this.#waiting.shift();
      if (bytes === undefined) {
        await this.#changed.wait();
        continue;
      }
      this.#waitingBytes -= bytes.length;
      if (this.#waitingBytes < waitingMaxBytes) this.#socket.resume();
      yield bytes;
    }
  }
}

class Controls {
  readonly #exec: GuestExec;
  readonly #clock: Clock;
  #size: { readonly columns: number; readonly rows: number } | undefined;
  #interrupted = false;
  #cancel: (() => void) | undefined;

  constructor(exec: GuestExec, clock: Clock) {
    this.#exec = exec;
    this.#clock = clock;
  }

  /** False when it is no control message. */
  take(bytes: Buffer): boolean {
    const control = bytes.length > controlMaxBytes ? undefined : parse(bytes);
    if (control === undefined) return false;
    if (control.type === 'resize') this.#size = control;
    else this.#interrupted = true;
    if (this.#cancel === undefined) this.#pass();
    return true;
  }

  #pass(): void {
    const size = this.#size;
    const interrupted = this.#interrupted;
    this.#size = undefined;
    this.#interrupted = false;
    this.#cancel = undefined;
    if (size === undefined && !interrupted) return;
    if (size !== undefined) this.#exec.resize(size.columns, size.rows);
    if (interrupted) this.#exec.interrupt();
    this.#cancel = this.#clock.after(controlStepMs, () => this.#pass());
  }

  stop(): void {
    this.#cancel?.();
  }
}

function parse(bytes: Buffer): ReturnType<typeof terminalControlSchema.parse> | undefined {
  try {
    return terminalControlSchema.safeParse(JSON.parse(bytes.toString('utf8'))).data;
  } catch {
    return undefined;
  }
}

function toBuffer(data: RawData): Buffer {
  if (Buffer.isBuffer(data)) return data;
  return Array.isArray(data) ? Buffer.concat(data) : Buffer.from(data);
}
