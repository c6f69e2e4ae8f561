// A terminal without a machine: it echoes what is typed and knows `stty size`, `echo …`, `flood N` and `exit N`, a line at a time.

import type { ExecOutcome, ExecRequest, GuestExec } from '../../guest/guest.ts';
import { Notifier } from '../../lib/notifier.ts';

export class FakeTerminal implements GuestExec {
  readonly output: GuestExec['output'];
  readonly outcome: Promise<ExecOutcome>;
  /** Reads no more of what is typed. */
  takesNothing = false;
  resizes = 0;
  readonly #outcome = Promise.withResolvers<ExecOutcome>();
  readonly #changed = new Notifier();
  readonly #printed: Uint8Array[] = [];
  #size: { readonly columns: number; readonly rows: number };
  #line = '';
  #ended = false;

  constructor(request: ExecRequest, failure: Error | undefined) {
    this.#size = request.pty ?? { columns: 80, rows: 24 };
    this.outcome = this.#outcome.promise;
    this.outcome.catch(() => undefined);
    this.output = this.#read();
    if (failure !== undefined) this.fail(failure);
    else {
      this.#print('$ ');
      if (request.stdin !== undefined) void this.#takeInput(request.stdin).catch((error: Error) => this.fail(error));
    }
  }

  /** Bytes that were printed and nobody has read. */
  get unread(): number {
    return this.#printed.reduce((sum, bytes) => sum + bytes.length, 0);
  }

  get columns(): number {
    return this.#size.columns;
  }

  async #takeInput(stdin: AsyncIterable<Uint8Array>): Promise<void> {
    for await (const bytes of stdin) {
      if (this.#ended) return;
      while (this.takesNothing) {
        if (this.#ended) return;
        await this.#changed.wait();
      }
      for (const character of Buffer.from(bytes).toString('latin1')) this.#type(character);
    }
  }

  #type(character: string): void {
    if (character === '\u0003') {
      this.interrupt();
      return;
    }
    this.#print(character === '\r' ? '\r\n' : character);
    if (character !== '\r' && character !== '\n') {
      this.#line += character;
      return;
    }
    const [command = '', ...rest] = this.#line.split(' ');
    this.#line = '';
    if (command === 'exit') {
      this.#end({ exitCode: Number(rest[0] ?? 0), signal: null, elapsedMs: 0 });
      return;
    }
    if (command === 'stty') this.#print(`${this.#size.rows} ${this.#size.columns}\r\n`);
    else if (command === 'echo') this.#print(`${rest.join(' ')}\r\n`);
    else if (command === 'flood') {
      for (let count = Number(rest[0]); count > 0; count -= 65_536) this.#print('y'.repeat(Math.min(count, 65_536)));
    }
    this.#print('$ ');
  }

  #print(text: string): void {
    this.#printed.push(Buffer.from(text, 'latin1'));
    this.#changed.notify();
  }

  async *#read(): AsyncGenerator<{ readonly stream: 'stdout'; readonly bytes: Uint8Array }> {
    for (;;) {
      const bytes = this.#printed.shift();
      if (bytes !== undefined) yield { stream: 'stdout', bytes };
      else if (this.#ended) {
        await this.outcome;
        return;
      } else await this.#changed.wait();
    }
  }

  #end(outcome: ExecOutcome): void {
    this.#outcome.resolve(outcome);
    this.#ended = true;
    this.#changed.notify();
  }

  fail(error: Error): void {
    this.#outcome.reject(error);
    this.#ended = true;
    this.#changed.notify();
  }

  interrupt(): void {
    this.#line = '';
    this.#print('^C\r\n$ ');
  }

  kill(): void {
    this.#end({ exitCode: null, signal: 9, elapsedMs: 0 });
  }

  resize(columns: number, rows: number): void {
    this.resizes += 1;
    this.#size = { columns, rows };
    this.#changed.notify();
  }
}
