import type { CommandContext, CommandInput } from '../command.ts';
import { ownTenant } from '../own-tenant.ts';
import { readSecretValue } from '../read-secret.ts';
import { type Verb, runVerb } from '../verbs.ts';

const verbs: Readonly<Record<string, Verb>> = {
  list: {
    takes: [0, 0],
    wants: 'nothing more',
    act: async (call) => (await call.backend.authority.get(await ownTenant(call))).secrets,
  },
  set: {
    takes: [1, 1],
    wants: 'a name; the secret itself comes from standard input',
    act: async (call) => {
      const {
        backend,
        context,
        args: [name = ''],
      } = call;
      const value = await readSecretValue(context, `${name}: `);
      return (await backend.authority.setSecret(await ownTenant(call), name, value)).secrets;
    },
  },
  remove: {
    takes: [1, 1],
    wants: 'a name',
    act: async (call) => (await call.backend.authority.removeSecret(await ownTenant(call), call.args[0] ?? '')).secrets,
  },
};

export async function secret(context: CommandContext, input: CommandInput): Promise<number> {
  return await runVerb({ name: 'secret', verbs }, context, input);
}
