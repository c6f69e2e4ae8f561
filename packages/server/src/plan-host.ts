// What this host would run sessions on, and why: each runtime tried as far as that needs nothing to be built.

import type { Config } from './config/config.ts';
import { tryRuntimes } from './open-runtimes.ts';
import { type Minima, type PlacementRequest, type Plan, plan } from './placement/place.ts';

export interface PlanRequest extends Pick<PlacementRequest, 'runtime'> {
  readonly minima?: Omit<Minima, 'host'>;
}

/** Refuses nothing, launches nothing. */
export async function planHost(config: Config, { runtime, minima = {} }: PlanRequest = {}): Promise<Plan> {
  await using tried = await tryRuntimes(config);
  for (const opened of tried.all) await opened.prove?.();
  const host = config.minimumTier === 'none' ? {} : { host: config.minimumTier };
  const offers = tried.all.map(({ capabilities }) => capabilities);
  return plan({ runtime, minima: { ...host, ...minima } }, offers, tried.absences);
}
