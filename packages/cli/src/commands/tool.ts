import type { AuthorityResource } from '@bulkhead/protocol';
import type { CommandContext, CommandInput } from '../command.ts';
import { ownTenant } from '../own-tenant.ts';
import { readJsonFile } from '../read-text-file.ts';
import { type Verb, runVerb } from '../verbs.ts';

type Tools = AuthorityResource['tools'];

const verbs: Readonly<Record<string, Verb>> = {
  list: {
    takes: [0, 0],
    wants: 'nothing more',
    act: async (call) => (await call.backend.authority.get(await ownTenant(call))).tools,
    show: lines,
  },
  set: {
    takes: [2, 2],
    wants: 'a name and a file with its settings in JSON',
    act: async (call) => {
      const {
        backend,
        context,
        args: [name = '', file = ''],
      } = call;
      const settings = await readJsonFile(context, file);
      return (await backend.authority.setTool(await ownTenant(call), name, settings)).tools;
    },
    show: lines,
  },
  remove: {
    takes: [1, 1],
    wants: 'a name',
    act: async (call) => (await call.backend.authority.removeTool(await ownTenant(call), call.args[0] ?? '')).tools,
    show: lines,
  },
};

export async function tool(context: CommandContext, input: CommandInput): Promise<number> {
  return await runVerb({ name: 'tool', verbs }, context, input);
}

function lines(answer: unknown): unknown {
  const tools = answer as Tools; // oxlint-disable-line typescript/no-unsafe-type-assertion -- what `act` answers
  return tools.map(({ name, settings: { kind, description } }) => ({ name, kind, description }));
}
