// Ports and terminals of sessions for a caller: what may be asked is the caller's, what is done about it is not this file's.

import type { PortId, SessionId } from '@bulkhead/protocol';
import type { ExposePortRequest, ExposedPort, ExposedPorts } from '../ports/exposed-ports.ts';
import { endedError } from '../sessions/session-errors.ts';
import { type SessionRecord, isFinal } from '../sessions/session-record.ts';
import { type Caller, checkScope } from '../tenants/caller.ts';
import type { CallerSessions } from './caller-sessions.ts';
import type { PortAddresses } from './ports/port-addresses.ts';
import type { TerminalTokens } from './terminal-tokens.ts';

/** A port as its caller is told of it. */
export interface CallerPort {
  readonly id: PortId;
  readonly port: number;
  /** A path of the API, or an address. */
  readonly path: string;
  readonly expiresAtUnixMs: number;
}

export interface CallerPortsOptions {
  readonly sessions: CallerSessions;
  readonly ports: ExposedPorts;
  readonly addresses: PortAddresses;
  readonly terminals: TerminalTokens;
}

export class CallerPorts {
  readonly #sessions: CallerSessions;
  readonly #ports: ExposedPorts;
  readonly #addresses: PortAddresses;
  readonly #terminals: TerminalTokens;

  constructor({ sessions, ports, addresses, terminals }: CallerPortsOptions) {
    this.#sessions = sessions;
    this.#ports = ports;
    this.#addresses = addresses;
    this.#terminals = terminals;
  }

  /** Errors: `forbidden`, `not_found`, and those of `ExposedPorts.expose`. */
  async expose(
    caller: Caller,
    session: SessionId,
    request: ExposePortRequest,
  ): Promise<CallerPort & { readonly token: string }> {
    const record = await this.#change(caller, session);
    if (isFinal(record)) throw endedError(record);
    const { exposed, token } = this.#ports.expose(record.tenant, session, request);
    return { ...this.#told(exposed), token };
  }

  /** Errors: `forbidden`, `not_found`. */
  async list(caller: Caller, session: SessionId): Promise<readonly CallerPort[]> {
    const record = await this.#sessions.get(caller, session);
    // What has ended has none, also when this server does not remember it any more.
    if (isFinal(record)) return [];
    return this.#ports.list(record.tenant, session).map((exposed) => this.#told(exposed));
  }

  /** Errors: `forbidden`, `not_found`. */
  async close(caller: Caller, session: SessionId, id: PortId): Promise<void> {
    const { tenant } = await this.#change(caller, session);
    this.#ports.close(tenant, session, id);
  }

  /** For one terminal, within `limits.terminalTokenMs`. Errors: `forbidden`, `not_found`, `session_ended`. */
  async createTerminalToken(
    caller: Caller,
    session: SessionId,
  ): Promise<{ readonly token: string; readonly expiresAtUnixMs: number }> {
    const record = await this.#change(caller, session);
    if (isFinal(record)) throw endedError(record);
    return this.#terminals.create(caller, session);
  }

  /** Errors: `unauthenticated`. */
  redeemTerminalToken(token: string, session: SessionId): Caller {
    return this.#terminals.redeem(token, session);
  }

  async #change(caller: Caller, session: SessionId): Promise<SessionRecord> {
    checkScope(caller, 'sessions:write');
    return await this.#sessions.get(caller, session);
  }

  #told({ id, port, expiresAtUnixMs }: ExposedPort): CallerPort {
    return { id, port, path: this.#addresses.addressOf(id), expiresAtUnixMs };
  }
}
