// `bulkhead mcp`: a server of MCP for one client, which starts it. stdout is the client's; what people may want to know goes to stderr.

import { Writable } from 'node:stream';
import { serveMcp } from '@bulkhead/server';
import { bulkheadVersion } from '../bulkhead-version.ts';
import type { CommandContext, CommandInput } from '../command.ts';
import { findServer } from '../find-server.ts';
import { configure, openLocal } from '../local-session.ts';

export async function mcp(context: CommandContext, input: CommandInput): Promise<number> {
  const server = await findServer(configure(context), input.text('server'));
  if (server === undefined) await serveHere(context, input);
  else await serveThere(context, new URL(server.url), server.apiKey);
  return 0;
}

/** Sessions of this host, in this process. */
async function serveHere(context: CommandContext, input: CommandInput): Promise<void> {
  await using local = await openLocal(context, { quiet: input.flag('quiet'), keep: input.flag('keep') });
  await serveMcp(local.bulkhead, { ...streams(context), version: await bulkheadVersion() });
}

async function serveThere(context: CommandContext, url: URL, key: string): Promise<void> {
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
