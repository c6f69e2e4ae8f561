import { parseArgs } from 'node:util';
import { BulkheadError } from '@bulkhead/protocol';
import type { CommandInput, CommandSpec } from './command.ts';
import { nearest } from './nearest.ts';

/** Errors: `invalid_request` with a suggestion. */
export function parseCommandLine(spec: CommandSpec, args: readonly string[]): CommandInput {
  const { values, positionals } = parse(spec, args);
  return {
    positionals,
    flag: (name) => values[name] === true,
    text: (name) => {
      const value = values[name];
      return typeof value === 'string' ? value : undefined;
    },
    texts: (name) => {
      const value = values[name];
      return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : [];
    },
  };
}

type Values = Readonly<Record<string, string | boolean | (string | boolean)[] | undefined>>;

function parse(
  spec: CommandSpec,
  args: readonly string[],
): { readonly values: Values; readonly positionals: string[] } {
  const options = Object.fromEntries(
    Object.entries(spec.options).map(([name, { type, short, multiple }]) => [
      name,
      { type, ...(short === undefined ? {} : { short }), ...(multiple === undefined ? {} : { multiple }) },
    ]),
  );
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true });
  } catch (error) {
    throw usageError(spec, error);
  }
}

function usageError(spec: CommandSpec, error: unknown): BulkheadError {
  const message = error instanceof Error ? error.message : String(error);
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  const seeHelp = `\`bulkhead ${spec.name} --help\` shows them all.`;
  if (code !== 'ERR_PARSE_ARGS_UNKNOWN_OPTION') {
    return new BulkheadError('invalid_request', message.split('\n')[0] ?? message, { hint: seeHelp });
  }
  const given = /'(-{1,2}[^']*)'/.exec(message)?.[1] ?? '';
  const known = Object.entries(spec.options).flatMap(([name, { short }]) =>
    short === undefined ? [`--${name}`] : [`--${name}`, `-${short}`],
  );
  const suggestion = given.startsWith('--') ? nearest(given, known) : undefined;
  return new BulkheadError('invalid_request', `\`bulkhead ${spec.name}\` has no option ${given}.`, {
    hint: `${suggestion === undefined ? '' : `Did you mean ${suggestion}? `}${seeHelp}`,
    details: { option: given, ...(suggestion === undefined ? {} : { suggestion }) },
  });
}
