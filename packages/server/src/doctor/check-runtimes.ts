import type { Plan } from '../placement/place.ts';
import type { Finding } from './host-report.ts';

/** Checks that concern one runtime alone. */
export const runtimeOfCheck: Readonly<Record<string, string>> = {
  qemu: 'qemu',
  jail: 'qemu',
  accelerator: 'qemu',
  'sealed-memory': 'qemu',
};

export function judgeRuntimes(plan: Plan | null): Finding {
  if (plan === null) return { status: 'warn', detail: 'Which runtimes can be used was not found out.' };
  const { runtime, tier, candidates, minimum } = plan;
  const told = candidates.map(
    (each) => `${each.runtime}${each.tier === undefined ? ' (absent)' : ` (${each.tier})`}: ${each.why}`,
  );
  const required = minimum === 'none' ? '' : ` At least ${minimum} is required.`;
  if (runtime === undefined) {
    return {
      status: 'fail',
      detail: `No runtime may have a session.${required} ${told.join('; ')}`,
      fix: 'Run script/bootstrap; `bulkhead plan` says more. BULKHEAD_MINIMUM_TIER is the least that this host asks for.',
    };
  }
  return { status: 'ok', detail: `A session gets ${runtime} (${tier}).${required} ${told.join('; ')}` };
}
