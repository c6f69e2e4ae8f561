import { errorCatalogue } from '@bulkhead/protocol';
import { environmentHelp } from '@bulkhead/server';
import type { CommandSpec } from './command.ts';
import { commandSpecs } from './command-specs.ts';

export function overview(): string {
  const width = Math.max(...commandSpecs.map(({ name }) => name.length));
  const list = commandSpecs.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`);
  return `Bulkhead runs code that nobody has reviewed, each session in a virtual machine of its own.

Usage: bulkhead COMMAND [OPTION]...

Commands:
${list.join('\n')}

Begin with:
  bulkhead doctor                what this host can do
  bulkhead run 'print(6*7)'      run code; the machine is gone afterwards
  bulkhead shell                 a session that remembers

\`bulkhead COMMAND --help\` explains a command; \`bulkhead help exit-codes\` and \`help environment\` the rest.
`;
}

export function commandHelp(spec: CommandSpec): string {
  const rows = Object.entries(spec.options).map(([name, { short, value, help, multiple }]) => {
    const flag = `${short === undefined ? '    ' : `-${short}, `}${name.length === 1 ? '' : `--${name}`}`;
    const label = `${name.length === 1 ? `-${name}` : flag}${value === undefined ? '' : ` ${value}`}`;
    return [label, multiple === true ? `${help} (may be repeated)` : help] as const;
  });
  const width = Math.max(...rows.map(([label]) => label.length));
  const examples = spec.examples.map(([command, what]) => `  ${command}\n      ${what}`);
  return `Usage: bulkhead ${spec.usage}

${spec.description}

Options:
${rows.map(([label, help]) => `  ${label.padEnd(width)}  ${help}`).join('\n')}

Examples:
${examples.join('\n')}
`;
}

export function exitCodeHelp(): string {
  const rows = Object.entries(errorCatalogue)
    .map(([code, entry]) => ({ code, ...entry }))
    .toSorted((a, b) => a.exitCode - b.exitCode)
    .map(({ exitCode, code, title }) => `  ${String(exitCode).padStart(3)}  ${code.padEnd(26)}${title}`);
  return `The exit code of a command, and the error code that --json shows with it:

    0  ${'(none)'.padEnd(26)}Everything went well
${rows.join('\n')}
  141  ${'(none)'.padEnd(26)}Whoever read the output went away
`;
}

export function environmentText(): string {
  const width = Math.max(...Object.keys(environmentHelp).map((name) => name.length));
  const rows = Object.entries(environmentHelp).map(([name, help]) => `  ${name.padEnd(width)}  ${help}`);
  return `Environment variables:\n${rows.join('\n')}\n`;
}
