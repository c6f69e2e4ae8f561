// `bulkhead serve`. What it says goes to stdout, in JSON one document a line; its log goes to stderr.

import { loadConfig, startServer } from '@bulkhead/server';
import { bulkheadVersion } from '../bulkhead-version.ts';
import type { CommandContext, CommandInput } from '../command.ts';
import { jsonLine } from '../output.ts';

export async function serve(context: CommandContext, input: CommandInput): Promise<number> {
  const { stdout, stderr, interrupts } = context;
  const [host, port] = [input.text('host'), input.text('port')];
  const config = loadConfig(undefined, {
    ...(host === undefined ? {} : { BULKHEAD_HOST: host }),
    ...(port === undefined ? {} : { BULKHEAD_PORT: port }),
  });
  stdout.color = config.color;
  stderr.color = config.color;
  const json = input.flag('json');
  const say = async (event: object, text: string): Promise<void> =>
    await stdout.write(json ? jsonLine(event) : `${text}\n`);
  const version = await bulkheadVersion();
  const asked = Promise.withResolvers<void>();
  // The first signal, whichever it is, has it drain; the second ends the process.
  using _interrupts = interrupts.during(() => interrupts.end());
  interrupts.ended.addEventListener('abort', () => asked.resolve(), { once: true });
  await using server = await startServer(config, {
    version,
    ...(input.flag('quiet') ? {} : { onProgress: (message: string) => void stderr.line(stderr.style('dim', message)) }),
    log: { write: (line) => void stderr.write(line) },
  });
  const { url, first, ready } = server;
  if (first !== undefined) {
    const { tenant, id: key } = first.key;
    await say(
      { event: 'first_key', tenant, key, secret: first.secret },
      `A tenant and its key were made. The key is shown this once; whoever has it may do everything here.\n  tenant  ${tenant}\n  key     ${first.secret}`,
    );
  }
  await say({ event: 'listening', url, version }, `Bulkhead ${version} listens on ${url}.`);
  void ready.then(() => (interrupts.ended.aborted ? undefined : say({ event: 'ready' }, 'Ready.')));
  if (!interrupts.ended.aborted) await asked.promise;
  await say({ event: 'stopping' }, 'Stopping: turns that run may end, sessions are put to sleep.');
  await server.close();
  await say({ event: 'stopped' }, 'Stopped.');
  return 0;
}
