// `bulkhead mcp`: a server of MCP for one client, which starts it. stdout is the client's; what people may want to know goes to stderr.

import { Writable } from 'node:stream';
import { BulkheadError } from '@bulkhead/protocol';
import { serveMcp } from '@bulkhead/server';
import { bulkheadVersion } from '../bulkhead-version.ts';
import type { CommandContext, CommandInput } from '../command.ts';
import { configure, openLocal } from '../local-session.ts';

export async function mcp(context: CommandContext, input: CommandInput): Promise<number> {
  const { client } = configure(context);
  if (client.url === undefined) await serveHere(context, input);
  else await serveThere(context, new URL(client.url), client.apiKey);
  return 0;
}

/** Sessions of this host, in this process. */
async function serveHere(context: CommandContext, input: CommandInput): Promise<void> {
  await using local = await openLocal(context, { quiet: input.flag('quiet'), keep: input.flag('keep') });
  await serveMcp(local.bulkhead, { ...streams(context), version: await bulkheadVersion() });
}

async function serveThere(context: CommandContext, url: URL, key: string | undefined): Promise<void> {
  if (key === undefined) {
    throw new BulkheadError('invalid_request', 'A server is configured, and no key for it.', {
      hint: 'Set BULKHEAD_API_KEY; or unset BULKHEAD_URL to use sessions of this host.',
    });
  }
  const { bridge } = await import('../mcp-bridge.ts');
  const { stderr } = context;
  await bridge({
    ...streams(context),
    url,
    key,
    onTrouble: (message) => void stderr.line(stderr.style('dim', message)),
  });
}

function streams({ stdin, stdout, interrupts }: CommandContext): {
  readonly stdin: CommandContext['stdin'];
  readonly stdout: Writable;
  readonly signal: AbortSignal;
} {
  const writable = new Writable({
    decodeStrings: false,
    write: (text: string, _encoding, done) => {
      void (async () => {
        await stdout.write(text);
        done();
      })();
    },
  });
  return { stdin, stdout: writable, signal: interrupts.ended };
}
