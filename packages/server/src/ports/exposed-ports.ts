// Ports of sessions that are reachable from outside, each for whoever has its token. They are kept in the memory of the server that has the
// session, and nowhere else: a token ends with its time, its port, its session, or that server.

import { BulkheadError, type PortId, type SessionId, type TenantId, limits, makeId, parseId } from '@bulkhead/protocol';
import type { GuestConnection } from '../guest/guest.ts';
import { type Clock, systemClock } from '../lib/clock.ts';
import { isFinal } from '../sessions/session-record.ts';
import type { Sessions } from '../sessions/sessions.ts';
import { isPortToken, makePortToken } from './port-token.ts';

export interface ExposedPort {
  readonly id: PortId;
  readonly tenant: TenantId;
  readonly session: SessionId;
  readonly port: number;
  readonly expiresAtUnixMs: number;
}

export interface ExposePortRequest {
  readonly port: number;
  readonly expiresInSeconds?: number;
}

/** What a token opens. */
export interface OpenPort {
  readonly exposed: ExposedPort;
  /** Aborted when the port is closed, whatever closed it. */
  readonly closed: AbortSignal;
  /**
   * A connection to the server in the session; one that sleeps is woken. Errors: `too_many_connections`, those of `Sessions.openSession` and
   * `Guest.connect`.
   */
  connect(options?: { readonly signal?: AbortSignal }): Promise<GuestConnection>;
}

interface Entry {
  readonly exposed: ExposedPort;
  readonly hash: Buffer;
  readonly closing: AbortController;
  readonly cancelExpiry: () => void;
}

export interface ExposedPortsOptions {
  readonly sessions: Sessions;
  readonly clock?: Clock;
}

/** Ports of sessions that have ended are looked for when this many have come since they last were. */
const pruneAfterCount = 256;

export class ExposedPorts implements Disposable {
  readonly #sessions: Sessions;
  readonly #clock: Clock;
  readonly #entries = new Map<PortId, Entry>();
  /** Connections of a session, those that are being made included. */
  readonly #connections = new Map<SessionId, number>();
  #sincePruned = 0;

  constructor({ sessions, clock = systemClock }: ExposedPortsOptions) {
    this.#sessions = sessions;
    this.#clock = clock;
  }

  /** The token is nowhere else. Errors: `not_found`, `session_ended`, `invalid_request`, `limit_exceeded`. */
  expose(
    tenant: TenantId,
    session: SessionId,
    { port, expiresInSeconds = limits.portTokenDefaultSeconds }: ExposePortRequest,
  ): { readonly exposed: ExposedPort; readonly token: string } {
    checkWhole('port', port, 65_535);
    checkWhole('expiresInSeconds', expiresInSeconds, limits.portTokenMaxSeconds);
    const record = this.#sessions.getSession(tenant, session);
    if (isFinal(record) || record.state === 'terminating') {
      throw new BulkheadError('session_ended', `The session ${session} has ended.`, { hint: 'Create a new one.' });
    }
    this.#pruneNowAndThen();
    if (this.list(tenant, session).length >= limits.portsMaxCount) {
      throw new BulkheadError(
        'limit_exceeded',
        `A session has at most ${limits.portsMaxCount} ports that are reachable.`,
        {
          hint: 'Close one first.',
          details: { maximum: limits.portsMaxCount },
        },
      );
    }
    const { token, hash } = makePortToken();
    const id = makeId('port');
    const expiresInMs = expiresInSeconds * 1000;
    const exposed = { id, tenant, session, port, expiresAtUnixMs: this.#clock.unixMs() + expiresInMs };
    const cancelExpiry = this.#clock.after(expiresInMs, () => this.#close(id));
    this.#entries.set(id, { exposed, hash, closing: new AbortController(), cancelExpiry });
    return { exposed, token };
  }

  /** Oldest first. Errors: `not_found`. */
  list(tenant: TenantId, session: SessionId): readonly ExposedPort[] {
    if (isFinal(this.#sessions.getSession(tenant, session))) return [];
    return [...this.#entries.values()].map(({ exposed }) => exposed).filter((exposed) => exposed.session === session);
  }

  /** Its connections are closed, too. Errors: `not_found`. */
  close(tenant: TenantId, session: SessionId, id: PortId): void {
    const exposed = this.#entries.get(id)?.exposed;
    if (exposed?.tenant !== tenant || exposed.session !== session) {
      throw new BulkheadError('not_found', `There is no port ${id}.`);
    }
    this.#close(id);
  }

  /** Errors: `unauthenticated`, the very same whether the port, the session or the token is not there or not right. */
  open(id: string, tokens: readonly string[]): OpenPort {
    const known = parseId('port', id);
    const entry = known === undefined ? undefined : this.#entries.get(known);
    // Each is looked at, so that time does not say which.
    const fits = tokens.map((token) => isPortToken(token, entry?.hash)).includes(true);
    if (entry === undefined || !fits || !this.#isLive(entry)) throw notOpen();
    return {
      exposed: entry.exposed,
      closed: entry.closing.signal,
      connect: (options) => this.#connect(entry, options?.signal),
    };
  }

  async #connect({ exposed, closing }: Entry, signal: AbortSignal | undefined): Promise<GuestConnection> {
    const { tenant, session, port } = exposed;
    const release = this.#takeConnection(session);
    const given = AbortSignal.any([closing.signal, ...(signal === undefined ? [] : [signal])]);
    try {
      // Others may wait for the same session to wake: who gives up does not stop it.
      const { guest } = await this.#sessions.openSession(tenant, session);
      if (closing.signal.aborted) throw notOpen();
      const connection = await guest.connect(port, { signal: given });
      connection.once('close', release);
      const close = (): unknown => connection.destroy();
      closing.signal.addEventListener('abort', close, { once: true });
      connection.once('close', () => closing.signal.removeEventListener('abort', close));
      if (closing.signal.aborted) close();
      return connection;
    } catch (error) {
      release();
      throw error;
    }
  }

  /** Before anything is woken, so that those who wait are counted. */
  #takeConnection(session: SessionId): () => void {
    const count = this.#connections.get(session) ?? 0;
    if (count >= limits.portConnectionsMaxCount) {
      throw new BulkheadError('too_many_connections', 'This session has as many connections to its ports as it may.', {
        hint: 'Close one, or wait until one has ended.',
        details: { maximum: limits.portConnectionsMaxCount },
      });
    }
    this.#connections.set(session, count + 1);
    let released = false;
    return () => {
      if (released) return;
      released = true;
      const left = (this.#connections.get(session) ?? 1) - 1;
      if (left === 0) this.#connections.delete(session);
      else this.#connections.set(session, left);
    };
  }

  #isLive({ exposed, closing }: Entry): boolean {
    if (closing.signal.aborted || exposed.expiresAtUnixMs <= this.#clock.unixMs()) return false;
    try {
      const record = this.#sessions.getSession(exposed.tenant, exposed.session);
      return !isFinal(record) && record.state !== 'terminating';
    } catch (error) {
      if (BulkheadError.is(error, 'not_found')) return false;
      throw error;
    }
  }

  #close(id: PortId): void {
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    this.#entries.delete(id);
    entry.cancelExpiry();
    entry.closing.abort();
  }

  #pruneNowAndThen(): void {
    this.#sincePruned += 1;
    if (this.#sincePruned < pruneAfterCount) return;
    this.#sincePruned = 0;
    for (const [id, entry] of this.#entries) if (!this.#isLive(entry)) this.#close(id);
  }

  [Symbol.dispose](): void {
    for (const id of this.#entries.keys()) this.#close(id);
  }
}

function checkWhole(field: string, value: number, maximum: number): void {
  if (Number.isInteger(value) && value >= 1 && value <= maximum) return;
  throw new BulkheadError('invalid_request', `${field} is a whole number from 1 to ${maximum}.`, {
    details: { field, minimum: 1, maximum },
  });
}

function notOpen(): BulkheadError {
  return new BulkheadError('unauthenticated', 'There is no such port, or this token does not open it.', {
    hint: 'Send the token in the header X-Bulkhead-Port-Token. A port ends with its time, its session, or its server: expose it again.',
  });
}
