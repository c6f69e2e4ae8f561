// What a client sends through a tunnel, held until it is known which server it asks for. The first ClientHello has to name the host that was allowed. Nothing
// behind it goes on before the server has answered: should it ask for a second ClientHello (RFC 8446, 4.1.4), that one is looked at as well, or the first
// would be for us and the second for the server.

import { Transform, type TransformCallback } from 'node:stream';
import { readClientHello, skipChangeCipherSpec } from './client-hello.ts';
import { egressError } from './egress-error.ts';
import { egressLimits } from './egress-limits.ts';

type State = 'hello' | 'waiting' | 'second hello' | 'open';

/** From the client to the server. Fails with `egress_blocked`. */
export class TlsGuard extends Transform {
  readonly #host: string;
  #state: State = 'hello';
  #held: Buffer = Buffer.alloc(0);
  #goOn: (() => void) | undefined;

  constructor(host: string) {
    super();
    this.#host = host;
  }

  /** Whether a ClientHello has been let through. */
  get hasHello(): boolean {
    return this.#state !== 'hello';
  }

  override _transform(chunk: Buffer, _encoding: string, done: TransformCallback): void {
    if (this.#state === 'open') {
      done(null, chunk);
      return;
    }
    this.#held = Buffer.concat([this.#held, chunk]);
    try {
      this.#look();
    } catch (error) {
      done(error instanceof Error ? error : egressError('internal', 'Bulkhead failed.'));
      return;
    }
    if (this.#state !== 'waiting') done();
    // One chunk more may be held than a ClientHello; then the client waits for the server.
    else this.#goOn = done;
  }

  #look(): void {
    if (this.#state === 'hello' && this.#takeHello(0)) this.#state = 'waiting';
    if (this.#state === 'second hello') {
      const skipped = skipChangeCipherSpec(this.#held);
      if (skipped !== undefined && this.#takeHello(skipped)) this.#open();
    }
  }

  #takeHello(offset: number): boolean {
    const hello = readClientHello(this.#held.subarray(offset));
    if (hello === undefined) {
      if (this.#held.length > egressLimits.helloMaxBytes * 2)
        throw egressError('hello', 'The ClientHello is too long.');
      return false;
    }
    if (hello.serverName !== this.#host) {
      throw egressError('hello', 'The client asks for another server than it said.');
    }
    const end = offset + hello.length;
    this.push(this.#held.subarray(0, end));
    this.#held = this.#held.subarray(end);
    return true;
  }

  #open(): void {
    this.#state = 'open';
    if (this.#held.length > 0) this.push(this.#held);
    this.#held = Buffer.alloc(0);
  }

  /** The server has said something; `wantsAnother`: that it wants another ClientHello. */
  answered(wantsAnother: boolean): void {
    if (this.#state !== 'waiting') return;
    const goOn = this.#goOn;
    this.#goOn = undefined;
    try {
      if (wantsAnother) {
        this.#state = 'second hello';
        this.#look();
      } else this.#open();
      goOn?.();
    } catch (error) {
      this.destroy(error instanceof Error ? error : undefined);
    }
  }

  override _flush(done: TransformCallback): void {
    const isWhole = this.#state === 'open' || this.#held.length === 0;
    done(isWhole ? null : egressError('hello', 'The client ended within its ClientHello.'));
  }
}

/** SHA-256 of `HelloRetryRequest`: the random value of a ServerHello that is none. */
const retryRandom = Buffer.from('cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c', 'hex');
const randomOffset = 11;

/** From the server to the client: changes nothing, and tells the guard what the first record was. */
export class AnswerWatch extends Transform {
  readonly #guard: TlsGuard;
  #start: Buffer | undefined = Buffer.alloc(0);

  constructor(guard: TlsGuard) {
    super();
    this.#guard = guard;
  }

  override _transform(chunk: Buffer, _encoding: string, done: TransformCallback): void {
    if (this.#start !== undefined) {
      this.#start = Buffer.concat([this.#start, chunk.subarray(0, randomOffset + retryRandom.length)]);
      const isHandshake = this.#start[0] === 22;
      const random = this.#start.subarray(randomOffset, randomOffset + retryRandom.length);
      if (!isHandshake || random.length === retryRandom.length) {
        this.#start = undefined;
        this.#guard.answered(isHandshake && random.equals(retryRandom));
      }
    }
    done(null, chunk);
  }
}
