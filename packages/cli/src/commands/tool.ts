import { resolve } from 'node:path';
import { BulkheadError } from '@bulkhead/protocol';
import type { CommandContext, CommandInput } from '../command.ts';
import { nearest } from '../nearest.ts';

export async function tool({ stdout, stderr, workingDir }: CommandContext, input: CommandInput): Promise<number> {
  const [verb = '', path, ...more] = input.positionals;
  if (verb !== 'import-openapi' || path === undefined || more.length > 0) throw unknownVerb(verb);
  const operations = input
    .text('operations')
    ?.split(',')
    .map((name) => name.trim());
  const [origin, secret] = [input.text('origin'), input.text('secret')];
  const { importOpenapi } = await import('@bulkhead/server');
  const { settings, refused } = await importOpenapi({
    path: resolve(workingDir, path),
    ...(operations === undefined ? {} : { operations }),
    ...(origin === undefined ? {} : { origin }),
    ...(secret === undefined ? {} : { secret }),
  });
  if (operations !== undefined && refused.length > 0) {
    const [first] = refused;
    throw new BulkheadError('invalid_request', `${first?.operation} cannot be taken: ${first?.reason}.`, {
      details: { refused },
    });
  }
  for (const { operation, reason } of refused) await stderr.write(`left out: ${operation}: ${reason}\n`);
  await stdout.write(`${JSON.stringify(settings, null, 2)}\n`);
  return 0;
}

function unknownVerb(verb: string): BulkheadError {
  const suggestion = nearest(verb, ['import-openapi']);
  return new BulkheadError('invalid_request', '`bulkhead tool import-openapi` takes one file.', {
    hint:
      suggestion === undefined || verb === suggestion
        ? '`bulkhead tool --help` shows all of it.'
        : `Did you mean \`bulkhead tool ${suggestion}\`?`,
  });
}
