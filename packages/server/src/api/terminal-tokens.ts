// Short secrets that open one terminal each: a browser cannot send a header with a WebSocket, and a key has no place in an address. They are kept, as
// hashes, in the memory of the server that has the session.

import { createHash, randomBytes } from 'node:crypto';
import { BulkheadError, type SessionId, limits } from '@bulkhead/protocol';
import { type Clock, systemClock } from '../lib/clock.ts';
import type { Caller } from '../tenants/caller.ts';

interface Entry {
  readonly caller: Caller;
  readonly session: SessionId;
  readonly expiresAtUnixMs: number;
}

/** Far more than are asked for in a minute: requests have a rate. */
const tokensMaxCount = 100_000;

export class TerminalTokens {
  readonly #clock: Clock;
  /** Oldest first; all live as long. */
  readonly #entries = new Map<string, Entry>();

  constructor(clock: Clock = systemClock) {
    this.#clock = clock;
  }

  create(caller: Caller, session: SessionId): { readonly token: string; readonly expiresAtUnixMs: number } {
    this.#forgetExpired();
    if (this.#entries.size >= tokensMaxCount) {
      throw new BulkheadError('rate_limited', 'Too many terminals are about to be opened.');
    }
    const token = `bht_${randomBytes(32).toString('base64url')}`;
    const expiresAtUnixMs = this.#clock.unixMs() + limits.terminalTokenMs;
    this.#entries.set(hashOf(token), { caller, session, expiresAtUnixMs });
    return { token, expiresAtUnixMs };
  }

  /** Who may open a terminal of this session with it. It opens nothing more, whatever comes of it. Errors: `unauthenticated`. */
  redeem(token: string, session: SessionId): Caller {
    this.#forgetExpired();
    const hash = hashOf(token);
    const entry = this.#entries.get(hash);
    this.#entries.delete(hash);
    if (entry?.session === session) return entry.caller;
    throw new BulkheadError('unauthenticated', 'The token of the terminal is not valid, has expired, or was used.', {
      hint: 'Ask for another one: POST /v1/sessions/{session}/terminal/tokens.',
    });
  }

  #forgetExpired(): void {
    const now = this.#clock.unixMs();
    for (const [hash, { expiresAtUnixMs }] of this.#entries) {
      if (expiresAtUnixMs > now) return;
      this.#entries.delete(hash);
    }
  }
}

function hashOf(token: string): string {
  return createHash('sha256').update(token).digest('base64');
}
