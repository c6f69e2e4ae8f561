// A connection to a server in the guest, as a stream of this process: `connect` of docs/channel.md.

import { Duplex } from 'node:stream';
import { callbackify } from 'node:util';
import { BulkheadError, limits } from '@bulkhead/protocol';
import { ProtocolViolation, lanes } from './frame.ts';
import type { CallOptions, GuestConnection } from './guest.ts';
import { cancelledError, throwIfCancelled } from './guest-errors.ts';
import type { Inbound } from './inbox.ts';
import { parseMessage } from './json.ts';
import { connectedSchema, nothingSchema } from './messages.ts';
import type { Mux } from './mux.ts';
import type { ChannelStream, StandingStream, StreamSpec } from './stream.ts';

export async function connect(mux: Mux, port: number, options: CallOptions = {}): Promise<GuestConnection> {
  const { signal } = options;
  throwIfCancelled('connect', signal);
  if (!Number.isInteger(port) || port < 1 || port > 65_535) {
    throw new BulkheadError('invalid_request', 'A port is a whole number from 1 to 65,535', {
      details: { field: 'port', minimum: 1, maximum: 65_535 },
    });
  }
  if (mux.countStanding('connection') >= limits.portConnectionsMaxCount) {
    throw new BulkheadError('too_many_connections', 'This session has as many connections to its ports as it may', {
      hint: 'Close one, or wait until one has ended.',
      details: { maximum: limits.portConnectionsMaxCount },
    });
  }
  return await openConnection(mux, { op: 'connect', parameters: { port }, kind: 'connection' }, options);
}

/** A stream that the guest joins to a connection of its own. Errors: the guest's refusal, `limit_exceeded`, `cancelled`. */
export async function openConnection(
  mux: Mux,
  { op, parameters, kind }: Pick<StreamSpec<unknown>, 'op' | 'parameters'> & Pick<StandingStream, 'kind'>,
  { signal }: CallOptions = {},
): Promise<GuestConnection> {
  const stream = mux.open({
    op,
    parameters,
    result: nothingSchema,
    lanes: [lanes.stdout, lanes.events],
    wholeLane: lanes.stdout,
    readsUntilEndOf: lanes.stdout,
    standing: { kind, isBusy: () => false },
  });
  const abort = (): void => stream.cancel(cancelledError(op, signal));
  signal?.addEventListener('abort', abort, { once: true });
  const stop = mux.clock.after(mux.timeouts.controlTimeoutMs, () => mux.end('unresponsive', `no answer to ${op}`));
  try {
    const first = await stream.read();
    stream.parse(() => checkConnected(first));
  } finally {
    stop();
    signal?.removeEventListener('abort', abort);
  }
  return new Connection(mux, stream);
}

function checkConnected(first: Inbound | undefined): void {
  if (first?.lane !== lanes.events) throw new ProtocolViolation('connect without saying that it is connected');
  parseMessage(first.bytes, connectedSchema, 'message of connect');
}

class Connection extends Duplex {
  readonly #mux: Mux;
  readonly #stream: ChannelStream<unknown>;
  #isReading = false;

  constructor(mux: Mux, stream: ChannelStream<unknown>) {
    super({ allowHalfOpen: true, autoDestroy: true });
    this.#mux = mux;
    this.#stream = stream;
    // Nothing that a guest does may end this process, whether or not somebody still listens.
    this.on('error', () => {});
    // A guest that closes, or a channel that ends, while nobody reads or writes must be noticed too.
    stream.outcome.catch((error: unknown) => this.#break(error));
  }

  override _read(): void {
    if (this.#isReading) return;
    this.#isReading = true;
    this.#readOn().catch((error: unknown) => this.#break(error));
  }

  async #readOn(): Promise<void> {
    for (;;) {
      const inbound = await this.#stream.read();
      if (this.destroyed) return;
      if (inbound === undefined) {
        this.push(null);
        return;
      }
      this.#stream.parse(() => {
        if (inbound.lane !== lanes.stdout) throw new ProtocolViolation('connect said twice that it is connected');
      });
      this.#mux.touch();
      if (!this.push(inbound.bytes)) break;
    }
    this.#isReading = false;
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    callbackify(() => this.#send(chunk, false))(done);
  }

  override _final(done: (error?: Error | null) => void): void {
    callbackify(() => this.#send(Buffer.alloc(0), true))(done);
  }

  async #send(bytes: Buffer, end: boolean): Promise<void> {
    const sent = await this.#stream.write(bytes, end);
    this.#mux.touch();
    // Where the guest broke it, the outcome says how.
    if (!sent && !this.destroyed) await this.#stream.outcome;
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    if (error === null && this.readableEnded && this.writableFinished) this.#linger();
    else this.#stream.cancel();
    done(error);
  }

  /** Both sides have said all: the server has a while to take what is on its way to it. */
  #linger(): void {
    const stop = this.#mux.clock.after(this.#mux.timeouts.cancelTimeoutMs, () => this.#stream.cancel());
    this.#stream.outcome.then(stop, stop);
  }

  #break(error: unknown): void {
    this.destroy(error instanceof Error ? error : undefined);
  }
}
