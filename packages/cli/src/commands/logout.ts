import type { CommandContext, CommandInput } from '../command.ts';
import { readLogin, removeLogin } from '../find-server.ts';
import { configure } from '../local-session.ts';
import { jsonLine } from '../output.ts';

export async function logout(context: CommandContext, input: CommandInput): Promise<number> {
  const { stateDir } = configure(context);
  // What cannot be read is removed all the same.
  const login = await readLogin(stateDir).catch(() => undefined);
  await removeLogin(stateDir);
  if (input.flag('json')) await context.stdout.write(jsonLine({ server: login?.url ?? null }));
  else await context.stdout.line(login === undefined ? 'There was no login.' : `Logged out of ${login.url}.`);
  return 0;
}
