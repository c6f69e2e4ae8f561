// Servers in a guest without a machine: a test says what listens on a port, and gets its end of each connection.

import { type Duplex, duplexPair } from 'node:stream';
import { BulkheadError, limits } from '@bulkhead/protocol';
import type { GuestConnection } from '../../guest/guest.ts';

export class FakeConnections {
  /** What is done with the server's end of a connection, by port. */
  readonly servers: Map<number, (socket: Duplex) => void> = new Map();
  readonly #open = new Set<Duplex>();

  get count(): number {
    return this.#open.size;
  }

  connect(port: number): GuestConnection {
    const serve = this.servers.get(port);
    if (serve === undefined) throw new BulkheadError('port_unreachable', `connect: nothing listens on port ${port}.`);
    if (this.#open.size >= limits.portConnectionsMaxCount) {
      throw new BulkheadError('too_many_connections', 'This session has as many connections to its ports as it may.');
    }
    const [ours, theirs] = duplexPair();
    for (const end of [ours, theirs]) end.on('error', () => undefined);
    this.#open.add(ours);
    ours.once('close', () => {
      this.#open.delete(ours);
      theirs.destroy();
    });
    theirs.once('close', () => {
      if (!theirs.writableFinished) ours.destroy(new BulkheadError('port_unreachable', 'connect: reset.'));
    });
    serve(theirs);
    return ours;
  }

  /** Breaks them all, as a guest does that is frozen or gone. */
  end(error: BulkheadError): void {
    for (const connection of this.#open) connection.destroy(error);
  }
}
