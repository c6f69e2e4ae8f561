// Tests that are written in Python: those of the guest agent and those of the Python client.

import { globSync } from 'node:fs';
import { join } from 'node:path';
import { preparePython, runProgram } from './python-environment.ts';

export interface PythonReport {
  /** For the summary. */
  readonly line: string;
  /** Of each that was skipped: where, what, why. */
  readonly skipped: readonly string[];
  readonly problems: readonly string[];
  /** What was printed, when something failed. */
  readonly printed: string;
}

const guestTimeoutMs = 240_000;
const clientTimeoutMs = 420_000;

function failed(name: string, problem: string, printed: string, skipped: readonly string[] = []): PythonReport {
  return { line: `${name}: FAILED`, skipped, problems: [`${name}: ${problem}`], printed };
}

/** The guest agent's own tests, by the interpreter that script/bootstrap gives IPython. */
export async function runGuestTests(): Promise<PythonReport> {
  const name = 'guest agent (Python)';
  if (globSync('guest/test/**/test*.py').length === 0) {
    return { line: `${name}: no tests`, skipped: [], problems: [], printed: '' };
  }
  const { problem, output } = await runProgram(
    '/usr/bin/python3',
    ['-B', '-m', 'unittest', 'discover', '-v', '-b', '-s', 'guest/test'],
    { timeoutMs: guestTimeoutMs },
  );
  // `name (module.class.name)`, a test's first line of documentation on a line of its own, and the outcome.
  const skipped = [...output.matchAll(/^(.*\))(?:\n.*)? \.\.\. skipped ['"](.*)['"]$/gm)].map(
    ([, test, reason]) => `guest/test: ${test}: ${reason}`,
  );
  const ran = /^Ran (\d+) tests? in ([\d.]+)s$/m.exec(output);
  const count = Number(ran?.[1] ?? 0);
  if (problem !== '' || count === 0) return failed(name, problem === '' ? 'no test ran' : problem, output, skipped);
  const line = `${name}: ran ${count - skipped.length} tests, skipped ${skipped.length}, in ${ran?.[2]} s`;
  return { line, skipped, problems: [], printed: '' };
}

/** The tests of the Python client, in an environment of their own. */
export async function runClientTests(): Promise<PythonReport> {
  const name = 'Python client';
  let python: string;
  try {
    python = await preparePython();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return failed(name, 'its environment could not be made; it needs the Python package index once', reason);
  }
  const folder = join(import.meta.dirname, '../clients/python');
  const { problem, output } = await runProgram(python, ['-B', '-m', 'pytest', '-q', '-rs', '--color=no'], {
    timeoutMs: clientTimeoutMs,
    cwd: folder,
    env: { PYTHONPATH: join(folder, 'src') },
  });
  const skips = [...output.matchAll(/^SKIPPED \[(\d+)\] (\S+?):(?:\d+:)? (.*)$/gm)];
  const skipped = skips.map(([, times, file, reason]) => `clients/python/${file}: ${times} times: ${reason}`);
  const ended = /^(?:.*, )?(\d+) passed.* in ([\d.]+)s/m.exec(output);
  if (problem !== '' || ended === null)
    return failed(name, problem === '' ? 'no test passed' : problem, output, skipped);
  const count = skips.reduce((sum, [, times]) => sum + Number(times), 0);
  return {
    line: `${name}: ran ${ended[1]} tests, skipped ${count}, in ${ended[2]} s`,
    skipped,
    problems: [],
    printed: '',
  };
}
