// A client of QEMU's machine protocol: one JSON object a line. QEMU may have been taken over by its guest, so what it says is bounded.

import type { Duplex } from 'node:stream';
import { z } from 'zod';

const lineMaxBytes = 1024 * 1024;

const messageSchema = z.object({
  id: z.number().optional(),
  event: z.string().optional(),
  data: z.record(z.string(), z.unknown()).optional(),
  return: z.unknown().optional(),
  error: z.object({ desc: z.string() }).optional(),
});
type QmpMessage = z.infer<typeof messageSchema>;

interface Pending {
  readonly accepts: (message: QmpMessage) => boolean;
  readonly settle: (outcome: QmpMessage | Error) => void;
}

/** The control connection of one QEMU. Every promise rejects when the connection ends. */
export class Qmp {
  readonly #stream: Duplex;
  readonly #pending = new Set<Pending>();
  #buffered: Buffer[] = [];
  #bufferedBytes = 0;
  #nextId = 1;
  #ended: Error | undefined;

  constructor(stream: Duplex) {
    this.#stream = stream;
    stream.on('data', (chunk: Buffer) => this.#receive(chunk));
    stream.on('error', (error: Error) => this.#end(error));
    stream.on('close', () => this.#end(new Error('QEMU closed its control connection')));
  }

  /** Sends a command; commands may be sent without waiting for earlier ones, QEMU answers in order. */
  execute(command: string, args: Readonly<Record<string, unknown>> = {}): Promise<unknown> {
    const id = this.#nextId++;
    const answer = this.#wait((message) => message.id === id);
    this.#stream.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
    return answer.then((message) => {
      if (message.error !== undefined) throw new Error(`${command}: ${message.error.desc.slice(0, 500)}`);
      return message.return;
    });
  }

  /** The next event of that name for which `accepts` holds. */
  async event(
    name: string,
    accepts: (data: Readonly<Record<string, unknown>>) => boolean = () => true,
  ): Promise<Readonly<Record<string, unknown>>> {
    const { data = {} } = await this.#wait((message) => message.event === name && accepts(message.data ?? {}));
    return data;
  }

  #wait(accepts: Pending['accepts']): Promise<QmpMessage> {
    return new Promise((resolve, reject) => {
      if (this.#ended) return reject(this.#ended);
      this.#pending.add({
        accepts,
        settle: (outcome) => (outcome instanceof Error ? reject(outcome) : resolve(outcome)),
      });
      return undefined;
    });
  }

  #receive(chunk: Buffer): void {
    let rest = chunk;
    for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
      const line = Buffer.concat([...this.#buffered, rest.subarray(0, end)]);
      this.#buffered = [];
      this.#bufferedBytes = 0;
      rest = rest.subarray(end + 1);
      this.#accept(line);
    }
    if (rest.length === 0) return;
    this.#buffered.push(rest);
    this.#bufferedBytes += rest.length;
    if (this.#bufferedBytes > lineMaxBytes) this.#stream.destroy(new Error('QEMU sent an overlong line'));
  }

  #accept(line: Buffer): void {
    let message: QmpMessage;
    try {
      message = messageSchema.parse(JSON.parse(line.toString('utf8')));
    } catch {
      this.#stream.destroy(new Error('QEMU sent what is not a message'));
      return;
    }
    for (const pending of this.#pending) {
      if (!pending.accepts(message)) continue;
      this.#pending.delete(pending);
      pending.settle(message);
    }
  }

  #end(reason: Error): void {
    this.#ended ??= reason;
    for (const pending of this.#pending) pending.settle(this.#ended);
    this.#pending.clear();
  }
}
