import { BulkheadError, type MimeBundle } from '@bulkhead/protocol';
import type { GuestEvent, GuestRun, RunOutcome, RunRequest } from '../../guest/guest.ts';
import { channelError } from './fake-channel.ts';
import type { FakeContext, FakeGuest } from './fake-guest.ts';
import { FakeException, type FakeStatement, evaluate, parseScript } from './fake-script.ts';

/** The smallest PNG: one transparent pixel. */
export const fakePngBase64 =
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';

type Signal = 'interrupt' | 'kill';
type Listens = 'both' | 'kill' | 'none';
type RunEnd = Pick<RunOutcome, 'status' | 'fate' | 'exitCode' | 'signal'>;

const ok: RunEnd = { status: 'ok', fate: 'kept', exitCode: null, signal: null };
const encoder = new TextEncoder();

/** A run executes as its events are read: the guest waits while nobody does. */
export class FakeRun implements GuestRun {
  readonly events: AsyncIterable<GuestEvent>;
  readonly outcome: Promise<RunOutcome>;
  readonly #outcome = Promise.withResolvers<RunOutcome>();
  readonly #guest: FakeGuest;
  readonly #request: RunRequest;
  readonly #startedMs: number;
  readonly #dropped = { stdout: 0, stderr: 0, events: 0 };
  #signalled: Signal | undefined;
  #onSignal: () => void = () => undefined;

  constructor(guest: FakeGuest, request: RunRequest) {
    this.#guest = guest;
    this.#request = request;
    this.#startedMs = guest.clock.nowMs();
    this.outcome = this.#outcome.promise;
    this.outcome.catch(() => undefined);
    this.events = this.#events();
  }

  interrupt(): void {
    if (this.#signalled === undefined) this.#signalled = 'interrupt';
    this.#onSignal();
  }

  kill(): void {
    this.#signalled = 'kill';
    this.#onSignal();
  }

  async *#events(): AsyncGenerator<GuestEvent, void, void> {
    const context = this.#guest.context(this.#request.language, this.#request.context);
    try {
      this.#guest.check();
      if (context.busy) throw new BulkheadError('state_conflict', 'The context is busy.');
      context.busy = true;
      const end = yield* this.#execute(context);
      if (end.fate === 'lost') this.#guest.contexts.delete(`${this.#request.language}/${this.#request.context}`);
      const elapsedMs = this.#guest.clock.nowMs() - this.#startedMs;
      this.#outcome.resolve({ ...end, elapsedMs, dropped: { ...this.#dropped } });
    } catch (error) {
      this.#outcome.reject(error);
      throw error;
    } finally {
      context.busy = false;
    }
  }

  async *#execute(context: FakeContext): AsyncGenerator<GuestEvent, RunEnd, void> {
    const code = new TextDecoder().decode(this.#request.code);
    if (this.#request.language === 'bash') return yield* this.#bash(code);
    const statements = parseScript(code);
    for (const [index, statement] of statements.entries()) {
      try {
        const end = yield* this.#statement(statement, context, index === statements.length - 1);
        if (end !== undefined) return end;
      } catch (error) {
        if (!(error instanceof FakeException)) throw error;
        yield exceptionEvent(error.name, error.message, index + 1);
        return { ...ok, status: 'error' };
      }
    }
    return ok;
  }

  async *#bash(code: string): AsyncGenerator<GuestEvent, RunEnd, void> {
    let exitCode = 0;
    for (const line of code.split(/[\n;]/).map((text) => text.trim())) {
      const echo = /^echo (.*)$/.exec(line);
      if (echo !== null) yield textEvent('stdout', `${echo[1]}\n`);
      const tool = /^bulkhead-tool (\w+) (\w+) --json (.*)$/.exec(line);
      if (tool !== null) yield textEvent('stdout', `${await this.#callTool(tool)}\n`);
      const exit = /^exit (\d+)$/.exec(line);
      if (exit !== null) exitCode = Number(exit[1]);
    }
    return { ...ok, status: exitCode === 0 ? 'ok' : 'error', exitCode };
  }

  async #callTool([, tool = '', operation = '', given = '']: RegExpExecArray): Promise<string> {
    const { call } = this.#guest;
    return call === undefined ? 'no tools' : JSON.stringify(await call(tool, operation, given));
  }

  async *#statement(
    statement: FakeStatement,
    context: FakeContext,
    last: boolean,
  ): AsyncGenerator<GuestEvent, RunEnd | undefined, void> {
    const { variables } = context;
    if (statement.kind === 'call') return yield* this.#call(statement.verb, evaluate(statement.expression, variables));
    if (statement.kind === 'raise') {
      throw new FakeException(statement.name, String(evaluate(statement.expression, variables) ?? ''));
    }
    if (statement.kind === 'syntax-error') throw new FakeException('SyntaxError', 'invalid syntax');
    const value = evaluate(statement.expression, variables);
    if (statement.kind === 'assign') variables.set(statement.name, value);
    else if (statement.kind === 'print') yield textEvent(statement.stream, `${value ?? ''}\n`);
    else if (last && value !== null) {
      yield resultEvent({ 'text/plain': typeof value === 'string' ? `'${value}'` : String(value) });
    }
    return undefined;
  }

  async *#call(verb: string, argument: string | number | null): AsyncGenerator<GuestEvent, RunEnd | undefined, void> {
    const n = Number(argument ?? 0);
    switch (verb) {
      case 'sleep':
      case 'time.sleep':
        return yield* this.#wait(n * 1000, 'both');
      case 'fake.spin':
        return yield* this.#wait(Number.POSITIVE_INFINITY, 'both');
      case 'fake.ignore_interrupt':
        return yield* this.#wait(Number.POSITIVE_INFINITY, 'kill');
      case 'fake.ignore_kill':
        return yield* this.#wait(Number.POSITIVE_INFINITY, 'none');
      case 'fake.swallow_interrupt':
        await this.#until(Number.POSITIVE_INFINITY, 'both');
        return undefined;
      case 'os._exit':
        return { status: 'died', fate: 'lost', exitCode: n, signal: null };
      case 'fake.bytes':
        yield { type: 'stdout', bytes: Buffer.from(String(argument), 'hex') };
        return undefined;
      case 'fake.stderr':
        yield textEvent('stderr', String(argument));
        return undefined;
      case 'fake.flood':
        for (let left = n; left > 0; left -= 16_384) yield textEvent('stdout', 'x'.repeat(Math.min(left, 16_384)));
        return undefined;
      case 'fake.drop':
        this.#dropped.stdout += n;
        return undefined;
      case 'fake.figure':
        yield resultEvent({ 'text/plain': '<Figure size 640x480 with 1 Axes>', 'image/png': fakePngBase64 }, 'display');
        return undefined;
      case 'fake.table':
        yield resultEvent({
          'text/plain': '   a\n0  1',
          'text/html': '<table></table>',
          'application/vnd.bulkhead.table+json': {
            columns: [{ name: 'a', type: 'int64' }],
            rows: [[1]],
            totalRows: 1,
          },
        });
        return undefined;
      case 'fake.display':
        yield resultEvent({ 'text/plain': 'y'.repeat(n) }, 'display');
        return undefined;
      case 'fake.busy':
        throw new BulkheadError('state_conflict', 'The context is busy.');
      case 'fake.crash':
        return this.#endChannel('ended', 'the fake machine crashed');
      case 'fake.violate':
        return this.#endChannel('protocol_violation', 'a frame of an unknown type');
      case 'fake.silence':
        return this.#endChannel('unresponsive', 'no answer to a ping');
      default:
        throw new FakeException('AttributeError', `module 'fake' has no attribute '${verb}'`);
    }
  }

  #endChannel(reason: 'ended' | 'protocol_violation' | 'unresponsive', detail: string): never {
    this.#guest.end(reason, detail);
    throw channelError({ reason, detail });
  }

  async *#wait(delayMs: number, listens: Listens): AsyncGenerator<GuestEvent, RunEnd | undefined, void> {
    const signal = await this.#until(delayMs, listens);
    if (signal === 'kill') return { status: 'died', fate: 'lost', exitCode: null, signal: 9 };
    if (signal === undefined) return undefined;
    yield exceptionEvent('KeyboardInterrupt', '', 1);
    return { ...ok, status: 'interrupted' };
  }

  /** Waits for the time, a signal that is listened for, or the end of the channel, which throws. */
  async #until(delayMs: number, listens: Listens): Promise<Signal | undefined> {
    const heard = (): Signal | undefined => {
      if (listens === 'none') return undefined;
      return listens === 'kill' && this.#signalled === 'interrupt' ? undefined : this.#signalled;
    };
    const woken = Promise.withResolvers<void>();
    this.#onSignal = (): void => {
      if (heard() !== undefined) woken.resolve();
    };
    this.#onSignal();
    const cancel = Number.isFinite(delayMs) ? this.#guest.clock.after(delayMs, () => woken.resolve()) : undefined;
    await Promise.race([woken.promise, this.#guest.ended]);
    cancel?.();
    this.#onSignal = (): void => undefined;
    this.#guest.check();
    return heard();
  }
}

function textEvent(type: 'stdout' | 'stderr', content: string): GuestEvent {
  return { type, bytes: encoder.encode(content) };
}

function resultEvent(data: MimeBundle, type: 'result' | 'display' = 'result'): GuestEvent {
  return { type, data, sizeBytes: JSON.stringify(data).length };
}

function exceptionEvent(name: string, value: string, line: number): GuestEvent {
  const told = value === '' ? name : `${name}: ${value}`;
  const traceback = `Traceback (most recent call last):\n  File "<turn>", line ${line}\n${told}`;
  return {
    type: 'exception',
    exception: { name, value, traceback, frames: [{ file: '<turn>', line, name: '<module>' }] },
  };
}
