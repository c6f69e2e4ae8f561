import { BulkheadError, errorEntry } from '@bulkhead/protocol';
import { type Plan, planHost } from '@bulkhead/server';
import type { CommandContext, CommandInput } from '../command.ts';
import { configure } from '../local-session.ts';
import { jsonLine } from '../output.ts';
import { parsePlacement } from '../parse-values.ts';
import { formatTable } from '../table.ts';

export async function plan(context: CommandContext, input: CommandInput): Promise<number> {
  if (input.positionals.length > 0) throw new BulkheadError('invalid_request', '`bulkhead plan` takes options only.');
  const { runtime, minimumTier } = parsePlacement(input);
  const planned = await planHost(configure(context), {
    ...(runtime === undefined ? {} : { runtime }),
    ...(minimumTier === undefined ? {} : { minima: { session: minimumTier } }),
  });
  await context.stdout.write(input.flag('json') ? jsonLine(planned) : formatPlan(planned));
  return planned.runtime === undefined ? errorEntry('tier_unavailable').exitCode : 0;
}

function formatPlan({ runtime, tier, minimum, candidates }: Plan): string {
  const rows = candidates.map((each, index) => ({
    runtime: each.runtime,
    tier: each.tier ?? 'absent',
    taken: index === 0 && runtime !== undefined ? 'yes' : 'no',
    why: each.why,
  }));
  const verdict =
    runtime === undefined
      ? 'No session could be had here.'
      : `A session gets the runtime ${runtime}, with the tier ${tier}.`;
  const required = minimum === 'none' ? '' : ` At least ${minimum} is required.`;
  return `${formatTable(rows)}\n${verdict}${required}\n`;
}
