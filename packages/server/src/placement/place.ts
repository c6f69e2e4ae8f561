// Which runtime gets a session, from plain data: no clock, no host, no state. The rule, in full:
//
//   1. What was asked for by name is taken, or nothing is.
//   2. A runtime that isolates less than the strongest of the minima is never taken.
//   3. Of the rest the one with the strongest tier is taken; of two that are alike, the one that was offered first.
//
// The strongest tier comes before speed: nobody gets a weaker wall than this host has without having asked for it.

import { BulkheadError, type RuntimeName, type Tier, isAtLeast, strongerTier, tiers } from '@bulkhead/protocol';

/** A runtime, as far as it matters for where a session goes. */
export interface Offer {
  readonly runtime: RuntimeName;
  /** What its machines are isolated by, as far as that has been proved. */
  readonly tier: Tier;
  /** What that may turn out to be, once the runtime has tried: until then `tier` is the weaker of the two. */
  readonly possibleTier: Tier;
}

/** A runtime that cannot be used on this host. */
export interface Absence {
  readonly runtime: RuntimeName;
  readonly why: string;
}

/** Whose minimum it is: the one who runs this host, the tenant, or whoever creates the session. */
export const minimumSources = ['host', 'tenant', 'session'] as const;
export type MinimumSource = (typeof minimumSources)[number];
export type Minima = Readonly<Partial<Record<MinimumSource, Tier>>>;

export interface PlacementRequest {
  readonly runtime?: RuntimeName | undefined;
  readonly minima: Minima;
}

export interface Candidate {
  readonly runtime: RuntimeName;
  /** Undefined for one that is absent. */
  readonly tier: Tier | undefined;
  /** Why it was taken, or not, in a sentence. */
  readonly why: string;
}

export interface Plan {
  /** Undefined when no runtime may have the session. */
  readonly runtime: RuntimeName | undefined;
  readonly tier: Tier | undefined;
  readonly minimum: Tier;
  /** What was looked at: the one that was taken first. */
  readonly candidates: readonly Candidate[];
}

/** The strongest of several minima; `none` where there are none. */
export function strictest(minima: Minima): Tier {
  return Object.values(minima).reduce<Tier>(strongerTier, 'none');
}

/** What `place` would choose, and why; refuses nothing. */
export function plan(request: PlacementRequest, offers: readonly Offer[], absences: readonly Absence[] = []): Plan {
  const minimum = strictest(request.minima);
  const asked = request.runtime;
  const allowed = offers
    .filter((offer) => named(offer, asked) && isAtLeast(offer.possibleTier, minimum))
    .toSorted((one, other) => tiers.indexOf(one.tier) - tiers.indexOf(other.tier));
  // What has been proved comes before what may turn out to be.
  const taken = allowed.find(({ tier }) => isAtLeast(tier, minimum)) ?? allowed[0];
  const judge = (offer: Offer): Candidate => {
    const { runtime, tier } = offer;
    if (offer === taken) return { runtime, tier, why: whyTaken(offer, request, allowed.length) };
    if (!isAtLeast(offer.possibleTier, minimum)) {
      return { runtime, tier, why: `isolates less (${tier}) than the ${whose(request.minima)} requires (${minimum})` };
    }
    if (!named(offer, asked)) return { runtime, tier, why: `${asked} was asked for by name` };
    const alike = tier === taken?.tier;
    return { runtime, tier, why: alike ? 'as strong, and comes later' : `weaker than ${taken?.runtime}` };
  };
  return {
    runtime: taken?.runtime,
    tier: taken?.tier,
    minimum,
    candidates: [
      ...(taken === undefined ? [] : [judge(taken)]),
      ...offers.filter((offer) => offer !== taken).map(judge),
      ...absences.map(({ runtime, why }) => ({ runtime, tier: undefined, why })),
    ],
  };
}

/**
 * The runtime for a session. Errors: `tier_unavailable` when none of those here isolates as strongly as is required; `host_unsupported` when the one
 * that was asked for is not here, or none is.
 */
export function place(
  request: PlacementRequest,
  offers: readonly Offer[],
  absences: readonly Absence[] = [],
): RuntimeName {
  const { runtime, minimum, candidates } = plan(request, offers, absences);
  if (runtime !== undefined) return runtime;
  const asked = request.runtime;
  const here = offers.filter((offer) => named(offer, asked));
  if (here.length > 0) throw tooWeak(minimum, request.minima, here);
  const reasons = candidates.filter(({ tier, runtime: name }) => tier === undefined && name === (asked ?? name));
  const why = reasons.map(({ runtime: name, why: reason }) => `${name}: ${reason}`).join(' ');
  throw new BulkheadError(
    'host_unsupported',
    `${asked === undefined ? 'No runtime' : `The runtime ${asked}`} cannot be used here. ${why}`.trim(),
    { hint: '`bulkhead doctor` says what is missing and how to get it.', details: { runtime: asked ?? 'auto' } },
  );
}

/** Once a runtime knows what it can do, and again of what it made. Errors: `tier_unavailable`. */
export function checkTier(tier: Tier, minima: Minima, runtime: RuntimeName): void {
  const minimum = strictest(minima);
  if (!isAtLeast(tier, minimum)) throw tooWeak(minimum, minima, [{ runtime, tier, possibleTier: tier }]);
}

function tooWeak(minimum: Tier, minima: Minima, offers: readonly Offer[]): BulkheadError {
  const offered = offers.map(({ runtime, possibleTier }) => `${runtime} (${possibleTier})`).join(', ');
  return new BulkheadError(
    'tier_unavailable',
    `The ${whose(minima)} requires ${minimum}, but the strongest here is ${offered}. Nothing was started.`,
    {
      hint: '`bulkhead plan` shows what there is and why. Use a host with a stronger tier, or a lower minimum if the code may be trusted more.',
      details: {
        minimum,
        minima,
        available: offers.map(({ runtime, possibleTier }) => ({ runtime, tier: possibleTier })),
      },
    },
  );
}

function named({ runtime }: Offer, asked: RuntimeName | undefined): boolean {
  return asked === undefined || asked === runtime;
}

/** Whose minimum is the one that counts. */
function whose(minima: Minima): MinimumSource {
  const minimum = strictest(minima);
  return minimumSources.find((source) => minima[source] === minimum) ?? 'session';
}

function whyTaken({ tier }: Offer, { runtime, minima }: PlacementRequest, allowedCount: number): string {
  const enough = Object.keys(minima).length === 0 ? '' : `, and meets the minimum (${strictest(minima)})`;
  if (runtime !== undefined) return `asked for by name${enough}`;
  return `${allowedCount > 1 ? `the strongest tier here (${tier})` : `the only one that may (${tier})`}${enough}`;
}
