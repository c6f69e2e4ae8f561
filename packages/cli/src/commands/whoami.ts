import { owner } from '@bulkhead/server';
import type { CallerInfo } from '../administration.ts';
import type { CommandContext, CommandInput } from '../command.ts';
import { findServer } from '../find-server.ts';
import { configure } from '../local-session.ts';
import { jsonLine } from '../output.ts';
import { formatRecord } from '../table.ts';

export async function whoami(context: CommandContext, input: CommandInput): Promise<number> {
  const caller = await askWho(context, input);
  await context.stdout.write(input.flag('json') ? jsonLine(caller) : formatRecord(callerLine(caller)));
  return 0;
}

/** Without a server it is known without opening anything. */
async function askWho(context: CommandContext, input: CommandInput): Promise<CallerInfo> {
  const server = await findServer(configure(context), input.text('server'));
  if (server === undefined) return { server: null, ...owner, scopes: [...owner.scopes] };
  const { ServerBackend } = await import('../server-backend.ts');
  await using backend = new ServerBackend(server, context.interrupts.ended);
  return await backend.administration.whoami();
}

/** For people. */
export function callerLine({ server, tenant, subject, scopes, key }: CallerInfo): unknown {
  return {
    server: server ?? 'none: sessions are in the process of each command, on this host',
    tenant,
    subject,
    key: key ?? 'none',
    scopes: scopes.join(' '),
  };
}
