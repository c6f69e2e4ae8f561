import { BulkheadError } from '@bulkhead/protocol';
import type { CommandContext, CommandInput } from '../command.ts';
import { commandSpecs } from '../command-specs.ts';
import { commandHelp, environmentText, exitCodeHelp, overview } from '../help-text.ts';
import { nearest } from '../nearest.ts';

export async function help(context: CommandContext, input: CommandInput): Promise<number> {
  await context.stdout.write(helpOn(input.positionals[0]));
  return 0;
}

function helpOn(topic: string | undefined): string {
  if (topic === undefined) return overview();
  if (topic === 'exit-codes') return exitCodeHelp();
  if (topic === 'environment') return environmentText();
  const spec = commandSpecs.find(({ name }) => name === topic);
  if (spec !== undefined) return commandHelp(spec);
  const topics = [...commandSpecs.map(({ name }) => name), 'exit-codes', 'environment'];
  const suggestion = nearest(topic, topics);
  throw new BulkheadError('invalid_request', `There is no help on ${JSON.stringify(topic)}.`, {
    hint: suggestion === undefined ? `Topics: ${topics.join(', ')}.` : `Did you mean \`bulkhead help ${suggestion}\`?`,
  });
}
