import { BulkheadError } from '@bulkhead/protocol';
import { openImages } from '@bulkhead/server';
import type { CommandContext, CommandInput } from '../command.ts';
import { configure } from '../local-session.ts';
import { nearest } from '../nearest.ts';
import { jsonLine } from '../output.ts';
import { formatRecord, formatTable } from '../table.ts';

const verbs = ['build', 'list', 'inspect', 'prune'] as const;

export async function image(context: CommandContext, input: CommandInput): Promise<number> {
  const [given = '', name, ...more] = input.positionals;
  const verb = verbs.find((candidate) => candidate === given);
  if (verb === undefined || more.length > 0 || (name !== undefined && verb !== 'inspect')) throw usageError(given);
  const answer = await act(context, input, verb, name);
  if (input.flag('json')) await context.stdout.write(jsonLine(answer));
  else await context.stdout.write(Array.isArray(answer) ? formatTable(answer) : formatRecord(answer));
  return 0;
}

async function act(
  context: CommandContext,
  input: CommandInput,
  verb: (typeof verbs)[number],
  name: string | undefined,
): Promise<unknown> {
  const images = await openImages(configure(context));
  const { stderr, interrupts } = context;
  const onProgress = (message: string): void => void stderr.line(stderr.style('dim', message));
  const options = { signal: interrupts.ended, ...(input.flag('quiet') ? {} : { onProgress }) };
  const acts = {
    build: () => images.build(options),
    list: () => images.list(),
    inspect: () => images.inspect(name),
    prune: () => images.prune(options),
  };
  return await acts[verb]();
}

function usageError(given: string): BulkheadError {
  const suggestion = nearest(given, verbs);
  const message =
    given === '' ? 'What about images?' : `\`bulkhead image\` does not take this: ${JSON.stringify(given)}.`;
  return new BulkheadError('invalid_request', message, {
    hint: suggestion === undefined ? `Say one of: ${verbs.join(', ')}.` : `Usage: bulkhead image ${suggestion}`,
  });
}
