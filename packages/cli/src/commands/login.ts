import { BulkheadError } from '@bulkhead/protocol';
import type { CommandContext, CommandInput } from '../command.ts';
import { readLogin, writeLogin } from '../find-server.ts';
import { configure } from '../local-session.ts';
import { jsonLine } from '../output.ts';
import { readSecret } from '../read-secret.ts';
import { formatRecord } from '../table.ts';
import { callerLine } from './whoami.ts';

/** Nothing is kept that the server does not take. */
export async function login(context: CommandContext, input: CommandInput): Promise<number> {
  const { stateDir, client } = configure(context);
  const [given, ...more] = input.positionals;
  if (more.length > 0) throw new BulkheadError('invalid_request', '`bulkhead login` takes the URL of a server.');
  const named = given ?? input.text('server') ?? client.url ?? (await readLogin(stateDir).catch(() => undefined))?.url;
  if (named === undefined || named === 'none') {
    throw new BulkheadError('invalid_request', 'Which server?', { hint: '`bulkhead login URL`.' });
  }
  const url = checkUrl(named, input.flag('allow-plain-http'));
  const apiKey = await readSecret(context, `API key for ${url}: `);
  const { ServerBackend } = await import('../server-backend.ts');
  await using backend = new ServerBackend({ url, apiKey }, context.interrupts.ended);
  const caller = await backend.administration.whoami();
  await writeLogin(stateDir, { url, apiKey });
  await context.stdout.write(input.flag('json') ? jsonLine(caller) : formatRecord(callerLine(caller)));
  return 0;
}

/** Errors: `invalid_request`. */
function checkUrl(text: string, allowPlain: boolean): string {
  if (!URL.canParse(text)) {
    throw new BulkheadError('invalid_request', 'This is not the URL of a server.', {
      hint: 'Write it like https://bulkhead.example.com.',
    });
  }
  const { protocol, hostname, href } = new URL(text);
  const isLoopback = hostname === 'localhost' || hostname === '[::1]' || hostname.startsWith('127.');
  if (protocol === 'http:' && !isLoopback && !allowPlain) {
    throw new BulkheadError('invalid_request', 'The key would cross the network in the clear.', {
      hint: 'Use https://, or --allow-plain-http where the network is trusted.',
    });
  }
  return href.replace(/\/$/, '');
}
