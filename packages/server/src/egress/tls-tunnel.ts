import type { Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Clock } from '../lib/clock.ts';
import { egressError } from './egress-error.ts';
import { egressLimits } from './egress-limits.ts';
import { AnswerWatch, TlsGuard } from './tls-guard.ts';

/** Joins a client to a server, both ways, until both have ended. Rejects with what ended it early; both are then destroyed. */
export async function tunnelTls(client: Duplex, upstream: Duplex, host: string, clock: Clock): Promise<void> {
  const guard = new TlsGuard(host);
  const stop = clock.after(egressLimits.helloWaitMs, () => {
    if (!guard.hasHello) guard.destroy(egressError('hello', 'The client said nothing.'));
  });
  const directions = [pipeline(client, guard, upstream), pipeline(upstream, new AnswerWatch(guard), client)];
  try {
    await Promise.all(directions);
  } catch (error) {
    client.destroy();
    upstream.destroy();
    await Promise.allSettled(directions);
    throw error;
  } finally {
    stop();
  }
}
