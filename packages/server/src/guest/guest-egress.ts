// Connections that guest code makes to the proxy in its machine: `egress` of docs/channel.md. The guest says that somebody has come, the host opens a
// stream for it. Where it leads is nothing to this file.

import { BulkheadError, limits } from '@bulkhead/protocol';
import { ProtocolViolation, lanes } from './frame.ts';
import { openConnection } from './guest-connect.ts';
import type { GuestConnection } from './guest.ts';
import { parseMessage } from './json.ts';
import { egressMessageSchema, nothingSchema } from './messages.ts';
import type { Mux } from './mux.ts';
import type { ChannelStream } from './stream.ts';

/** `take` must not throw; the connection is its from there on. */
export function serveEgress(mux: Mux, take: (connection: GuestConnection) => void): void {
  if (mux.countStanding('egress') > 0) throw new BulkheadError('state_conflict', 'This guest has a way out already');
  const stream = mux.open({
    op: 'egress',
    parameters: {},
    result: nothingSchema,
    lanes: [lanes.events],
    standing: { kind: 'egress', isBusy: () => false },
  });
  void listen(mux, stream, take).catch(() => undefined);
}

async function listen(
  mux: Mux,
  stream: ChannelStream<unknown>,
  take: (connection: GuestConnection) => void,
): Promise<void> {
  for (let last = 0; ; last++) {
    const inbound = await stream.read();
    if (inbound === undefined) return;
    const connection = stream.parse(() => {
      const message = parseMessage(inbound.bytes, egressMessageSchema, 'message of egress');
      if (message.connection !== last + 1) {
        throw new ProtocolViolation('connections are numbered from 1, one after the other');
      }
      if (mux.countStanding('egress connection') >= limits.egressConnectionsMaxCount) {
        throw new ProtocolViolation('too many connections at once');
      }
      return message.connection;
    });
    openConnection(mux, { op: 'egress.connection', parameters: { connection }, kind: 'egress connection' }).then(
      take,
      // No stream is free, or whoever it was has gone.
      () => stream.write(Buffer.from(`${JSON.stringify({ refused: connection })}\n`)).catch(() => false),
    );
  }
}
