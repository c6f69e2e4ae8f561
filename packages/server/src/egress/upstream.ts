// The connection to a server outside. Its name is looked up once, every answer is looked at, and the connection goes to one of those answers: a name
// that changes its mind later changes nothing. All that goes either way is counted before it goes on.

import { type Socket, connect } from 'node:net';
import { Duplex } from 'node:stream';
import type { Clock } from '../lib/clock.ts';
import type { AddressRule } from '../lib/address-rule.ts';
import { egressError } from './egress-error.ts';
import { egressLimits } from './egress-limits.ts';
import type { Authority } from './host-name.ts';
import type { Resolver } from './resolver.ts';

export interface UpstreamBounds {
  readonly addresses: AddressRule;
  readonly idleMs: number;
  readonly connectionMs: number;
  /** Whether so many bytes more may go, and if so counts them. */
  readonly count: (direction: 'sent' | 'received', bytes: number) => boolean;
}

/** Errors: `egress_blocked` for a name with an address that is not public, `tool_failed`, `tool_timeout`. */
export async function connectUpstream(
  { host, port }: Authority,
  bounds: UpstreamBounds,
  { resolver, clock }: { readonly resolver: Resolver; readonly clock: Clock },
): Promise<Upstream> {
  const answers = await within(clock, egressLimits.lookupMs, resolver.resolve(host), 'The name was not found in time.');
  if (answers.length === 0) throw egressError('lookup', 'The name has no address.');
  if (answers.length > egressLimits.addressesMaxCount || !answers.every((answer) => bounds.addresses.allows(answer))) {
    throw egressError('address', 'The name leads to where sessions do not go.');
  }
  let failure: unknown;
  for (const address of answers.slice(0, egressLimits.addressesTriedMaxCount)) {
    try {
      return new Upstream(await connectTo(clock, address, port), bounds, clock);
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
}

async function within<T>(clock: Clock, timeoutMs: number, work: Promise<T>, message: string): Promise<T> {
  const late = Promise.withResolvers<never>();
  const stop = clock.after(timeoutMs, () => late.reject(egressError('connect_time', message)));
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    stop();
  }
}

/** To an address, so that nothing is looked up any more. */
async function connectTo(clock: Clock, address: string, port: number): Promise<Socket> {
  const socket = connect({ host: address, port, noDelay: true, allowHalfOpen: true });
  const connected = Promise.withResolvers<void>();
  socket.once('connect', connected.resolve);
  socket.once('error', (error) =>
    connected.reject(egressError('unreachable', 'The server takes no connection.', error)),
  );
  try {
    await within(clock, egressLimits.connectMs, connected.promise, 'The server does not answer.');
    return socket;
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

/** A connection that is bounded. Whoever has it destroys it. Its errors are `BulkheadError`s. */
export class Upstream extends Duplex {
  readonly #socket: Socket;
  readonly #bounds: UpstreamBounds;
  readonly #clock: Clock;
  readonly #stopTotal: () => void;
  #stopIdle: () => void = () => {};

  constructor(socket: Socket, bounds: UpstreamBounds, clock: Clock) {
    super({ allowHalfOpen: true });
    this.#socket = socket;
    this.#bounds = bounds;
    this.#clock = clock;
    this.on('error', () => {});
    socket.on('error', (error) => this.destroy(egressError('broken', 'The server broke the connection.', error)));
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('end', () => this.push(null));
    this.#stopTotal = clock.after(bounds.connectionMs, () => this.#expire('The connection was open for too long.'));
    this.#touch();
  }

  #touch(): void {
    this.#stopIdle();
    this.#stopIdle = this.#clock.after(this.#bounds.idleMs, () => this.#expire('Nothing moved on the connection.'));
  }

  #expire(message: string): void {
    this.destroy(egressError('time', message));
  }

  #receive(chunk: Buffer): void {
    this.#touch();
    if (!this.#bounds.count('received', chunk.length)) this.destroy(spent());
    else if (!this.push(chunk)) this.#socket.pause();
  }

  override _read(): void {
    this.#socket.resume();
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    this.#touch();
    if (!this.#bounds.count('sent', chunk.length)) done(spent());
    else this.#socket.write(chunk, done);
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#socket.end(done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#stopIdle();
    this.#stopTotal();
    // What the server has not been sent yet it still gets when all went well.
    if (error === null && this.writableFinished) this.#socket.destroySoon();
    else this.#socket.destroy();
    done(error);
  }
}

function spent(): Error {
  return egressError('bytes', 'The session has sent and received as much as this rule allows.');
}
