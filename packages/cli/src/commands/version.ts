import type { CommandContext, CommandInput } from '../command.ts';
import { bulkheadVersion } from '../bulkhead-version.ts';
import { jsonLine } from '../output.ts';

const channelVersion = 1;

export async function version(context: CommandContext, input: CommandInput): Promise<number> {
  const bulkhead = await bulkheadVersion();
  const versions = { bulkhead, node: process.versions.node, channel: channelVersion };
  if (input.flag('json')) await context.stdout.write(jsonLine(versions));
  else await context.stdout.line(`bulkhead ${bulkhead} (node ${versions.node}, channel ${channelVersion})`);
  return 0;
}
