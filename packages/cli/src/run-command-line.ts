import { BulkheadError, errorEntry } from '@bulkhead/protocol';
import type { CommandContext, CommandFunction, CommandSpec } from './command.ts';
import { commandSpecs } from './command-specs.ts';
import { nearest } from './nearest.ts';
import { jsonLine } from './output.ts';
import { parseCommandLine } from './parse-command-line.ts';
import { reportError, toBulkheadError } from './report-error.ts';
import { turnDocument } from './turn-document.ts';

const loaders: Readonly<Record<string, () => Promise<CommandFunction>>> = {
  run: async () => (await import('./commands/run.ts')).run,
  shell: async () => (await import('./commands/shell.ts')).shell,
  session: async () => (await import('./commands/session.ts')).session,
  serve: async () => (await import('./commands/serve.ts')).serve,
  login: async () => (await import('./commands/login.ts')).login,
  logout: async () => (await import('./commands/logout.ts')).logout,
  whoami: async () => (await import('./commands/whoami.ts')).whoami,
  tenant: async () => (await import('./commands/tenant.ts')).tenant,
  key: async () => (await import('./commands/key.ts')).key,
  policy: async () => (await import('./commands/policy.ts')).policy,
  tool: async () => (await import('./commands/tool.ts')).tool,
  secret: async () => (await import('./commands/secret.ts')).secret,
  subject: async () => (await import('./commands/subject.ts')).subject,
  decision: async () => (await import('./commands/decision.ts')).decision,
  approval: async () => (await import('./commands/approval.ts')).approval,
  gc: async () => (await import('./commands/gc.ts')).gc,
  mcp: async () => (await import('./commands/mcp.ts')).mcp,
  image: async () => (await import('./commands/image.ts')).image,
  doctor: async () => (await import('./commands/doctor.ts')).doctor,
  plan: async () => (await import('./commands/plan.ts')).plan,
  bench: async () => (await import('./commands/bench.ts')).bench,
  help: async () => (await import('./commands/help.ts')).help,
  version: async () => (await import('./commands/version.ts')).version,
};

/** Runs a command line to its end; the answer is the exit code. Never rejects. */
export async function main(args: readonly string[], context: CommandContext): Promise<number> {
  const [first = 'help', ...rest] = args;
  const name = { '--help': 'help', '-h': 'help', '--version': 'version', '-V': 'version' }[first] ?? first;
  try {
    const spec = commandSpecs.find((candidate) => candidate.name === name);
    const load = loaders[name];
    if (spec === undefined || load === undefined) throw unknownCommand(first);
    return await runCommand(spec, await load(), rest, context);
  } catch (thrown) {
    const error = toBulkheadError(thrown);
    if (wantsJson(rest)) await context.stdout.write(jsonLine(failureDocument(name, error, context.elapsedMs())));
    else await reportError(context.stderr, error);
    return errorEntry(error.code).exitCode;
  }
}

async function runCommand(
  spec: CommandSpec,
  command: CommandFunction,
  args: readonly string[],
  context: CommandContext,
): Promise<number> {
  if (asksForHelp(args)) {
    const { commandHelp } = await import('./help-text.ts');
    await context.stdout.write(commandHelp(spec));
    return 0;
  }
  return await command(context, parseCommandLine(spec, args));
}

/** Before parsing: whoever asks for help may have got the rest wrong. */
function asksForHelp(args: readonly string[]): boolean {
  const options = beforeTerminator(args);
  return options.includes('--help') || options.includes('-h');
}

function wantsJson(args: readonly string[]): boolean {
  return beforeTerminator(args).includes('--json');
}

function beforeTerminator(args: readonly string[]): readonly string[] {
  const end = args.indexOf('--');
  return end === -1 ? args : args.slice(0, end);
}

/** A failure before there was a session has the shape of a turn that did not happen. */
function failureDocument(name: string, error: BulkheadError, totalMs: number): unknown {
  if (name !== 'run' && name !== 'shell') return { error: error.toJSON() };
  return turnDocument({ info: undefined, result: undefined, error: error.toJSON(), totalMs });
}

function unknownCommand(name: string): BulkheadError {
  const names = commandSpecs.map((spec) => spec.name);
  const suggestion = nearest(name, names);
  return new BulkheadError('invalid_request', `There is no command ${JSON.stringify(name)}.`, {
    hint: suggestion === undefined ? `Commands: ${names.join(', ')}.` : `Did you mean \`bulkhead ${suggestion}\`?`,
  });
}
