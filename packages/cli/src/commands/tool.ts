import { resolve } from 'node:path';
import { type AuthorityResource, BulkheadError } from '@bulkhead/protocol';
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

const importVerb = 'import-openapi';

export async function tool(context: CommandContext, input: CommandInput): Promise<number> {
  if (input.positionals[0] === importVerb) return await importOpenapi(context, input);
  return await runVerb({ name: 'tool', verbs, others: [importVerb] }, context, input);
}

/** Needs no server: what it prints is for `set`. */
async function importOpenapi({ stdout, stderr, workingDir }: CommandContext, input: CommandInput): Promise<number> {
  const [, path, ...more] = input.positionals;
  if (path === undefined || more.length > 0) {
    throw new BulkheadError('invalid_request', `\`bulkhead tool ${importVerb}\` takes one file.`, {
      hint: '`bulkhead tool --help` shows all of it.',
    });
  }
  const operations = input
    .text('operations')
    ?.split(',')
    .map((name) => name.trim());
  const [origin, secret] = [input.text('origin'), input.text('secret')];
  const { importOpenapi: read } = await import('@bulkhead/server');
  const { settings, refused } = await read({
    path: resolve(workingDir, path),
    ...(operations === undefined ? {} : { operations }),
    ...(origin === undefined ? {} : { origin }),
    ...(secret === undefined ? {} : { secret }),
  });
  const [first] = refused;
  if (operations !== undefined && first !== undefined) {
    throw new BulkheadError('invalid_request', `${first.operation} cannot be taken: ${first.reason}.`, {
      details: { refused },
    });
  }
  for (const { operation, reason } of refused) await stderr.write(`left out: ${operation}: ${reason}\n`);
  await stdout.write(`${JSON.stringify(settings, null, 2)}\n`);
  return 0;
}

function lines(answer: unknown): unknown {
  const tools = answer as Tools; // oxlint-disable-line typescript/no-unsafe-type-assertion -- what `act` answers
  return tools.map(({ name, settings: { kind, description } }) => ({ name, kind, description }));
}
