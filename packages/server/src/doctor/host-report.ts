import type { Accelerator, SizeName, Tier } from '@bulkhead/protocol';
import type { Plan } from '../placement/place.ts';

/** `warn`: sessions run, but weaker, slower or fewer than they could. `fail`: sessions cannot run until it is changed. */
export const checkStatuses = ['ok', 'warn', 'fail'] as const;
export type CheckStatus = (typeof checkStatuses)[number];

export interface HostCheck {
  readonly name: string;
  readonly status: CheckStatus;
  /** What was found, in a sentence. */
  readonly detail: string;
  /** What to change; present only when there is something to change. */
  readonly fix?: string;
}

/** What a check found; its name is added by who runs it. */
export type Finding = Omit<HostCheck, 'name'>;

/** How many sessions fit into the memory that is free now, roughly. */
export interface SessionRoom {
  /** When every session uses all the memory it was given. */
  readonly full: number;
  /** When every session is idle, with nothing but a warmed interpreter. */
  readonly idle: number;
}

/** What this host can do. Plain data: it can be printed as JSON. */
export interface HostReport {
  /** The worst of all checks. */
  readonly status: CheckStatus;
  readonly accelerator: Accelerator;
  /** The tier that sessions on this host will have. */
  readonly tier: Tier;
  /** What that tier means, for people. */
  readonly tierMeaning: string;
  readonly room: Readonly<Record<SizeName, SessionRoom>>;
  readonly checks: readonly HostCheck[];
  /** Which runtimes there are, and which one a session gets that asks for nothing; null where that was not tried. */
  readonly plan: Plan | null;
}

/** The worst of several statuses. */
export function worstStatus(checks: readonly { readonly status: CheckStatus }[]): CheckStatus {
  return checkStatuses.findLast((status) => checks.some((check) => check.status === status)) ?? 'ok';
}
