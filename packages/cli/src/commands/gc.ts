import { BulkheadError } from '@bulkhead/protocol';
import type { CommandContext, CommandInput } from '../command.ts';
import { openLocal } from '../local-session.ts';
import { jsonLine } from '../output.ts';
import { formatRecord } from '../table.ts';

const daysMax = 3650;

/** Opening has already compared what is written down with what is there. */
export async function gc(context: CommandContext, input: CommandInput): Promise<number> {
  const text = input.text('days');
  const days = text === undefined ? undefined : Number(text);
  if (days !== undefined && (!Number.isInteger(days) || days < 0 || days > daysMax)) {
    throw new BulkheadError('invalid_request', `--days takes a whole number from 0 to ${daysMax}.`);
  }
  await using local = await openLocal(context, { quiet: input.flag('quiet'), keep: true });
  const { keeping, tenancy } = local.bulkhead;
  if (keeping === undefined || tenancy === undefined) throw new TypeError('opened without what is kept');
  const { lost, removed } = keeping.recovery;
  const { turns, keys, answers, tenants } = await tenancy.reconcile(days);
  const report = {
    sessionsLost: lost,
    filesAndKeysRemoved: removed,
    turnsForgotten: turns,
    turnKeysDestroyed: keys,
    answersForgotten: answers,
    tenantsRemoved: tenants,
  };
  if (input.flag('json')) await context.stdout.write(jsonLine(report));
  else await context.stdout.write(formatRecord(report));
  return 0;
}
