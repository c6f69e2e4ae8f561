import { readFile } from 'node:fs/promises';
import type { CommandContext, CommandInput } from '../command.ts';
import { jsonLine } from '../output.ts';

const channelVersion = 1;

export async function version(context: CommandContext, input: CommandInput): Promise<number> {
  const manifest: unknown = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8'));
  const bulkhead =
    typeof manifest === 'object' && manifest !== null && 'version' in manifest ? String(manifest.version) : 'unknown';
  const versions = { bulkhead, node: process.versions.node, channel: channelVersion };
  if (input.flag('json')) await context.stdout.write(jsonLine(versions));
  else await context.stdout.line(`bulkhead ${bulkhead} (node ${versions.node}, channel ${channelVersion})`);
  return 0;
}
