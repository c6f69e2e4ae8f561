// Where a command works, found out once: on a server, or in this process. Only what is used is loaded.

import type { Backend } from './backend.ts';
import type { CommandContext, CommandInput } from './command.ts';
import { findServer } from './find-server.ts';
import { configure } from './local-session.ts';

export interface BackendOptions {
  readonly quiet: boolean;
  /** Whether sessions outlive the command; or what it has launched ends with it, and what is kept is not needed. */
  readonly keep: boolean;
}

/** Errors: `unauthenticated`, `config_invalid`; in this process, those of `openBulkhead`. */
export async function openBackend(
  context: CommandContext,
  input: CommandInput,
  { quiet, keep }: BackendOptions,
): Promise<Backend> {
  const server = await findServer(configure(context), input.text('server'));
  if (server === undefined) {
    const { openLocalBackend } = await import('./local-backend.ts');
    return await openLocalBackend(context, { quiet, keep });
  }
  const { ServerBackend } = await import('./server-backend.ts');
  return new ServerBackend(server, context.interrupts.ended);
}
