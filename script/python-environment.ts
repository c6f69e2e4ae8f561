// Environments of Python that tests need, that of the Python client first of all: each made once for each content of its list of packages, beside the
// other caches.

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');
const cacheFolder = join(root, 'node_modules/.cache/bulkhead-python');
const systemPython = '/usr/bin/python3';
const installTimeoutMs = 600_000;

export interface Ended {
  /** Empty when it ended as it should. */
  readonly problem: string;
  /** What it printed last. */
  readonly output: string;
}

/** Runs a program to its end; what it prints is kept, as far as its last part. */
export async function runProgram(
  program: string,
  args: readonly string[],
  options: { readonly timeoutMs: number; readonly cwd?: string; readonly env?: Readonly<Record<string, string>> },
): Promise<Ended> {
  const child = spawn(program, args, {
    cwd: options.cwd ?? root,
    env: { ...process.env, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: options.timeoutMs,
    killSignal: 'SIGKILL',
  });
  let output = '';
  const keep = (chunk: Buffer): void => void (output = `${output}${chunk.toString()}`.slice(-200_000));
  child.stdout.on('data', keep);
  child.stderr.on('data', keep);
  const problem = await new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('close', (code, signal) => resolve(code === 0 ? '' : `ended with ${signal ?? `exit code ${code}`}`));
  });
  return { problem, output };
}

/** The interpreter of the environment of a list, which is made when there is none. Throws what pip said when it cannot be made. */
export async function preparePython(name = 'clients/python/requirements-test.txt'): Promise<string> {
  const list = join(root, name);
  const version = await runProgram(systemPython, ['--version'], { timeoutMs: 20_000 });
  if (version.problem !== '') throw new Error(`${systemPython}: ${version.problem}. script/bootstrap installs it.`);
  const digest = createHash('sha256').update(readFileSync(list)).update(version.output).digest('hex').slice(0, 16);
  const folder = join(cacheFolder, digest);
  const python = join(folder, 'bin/python');
  const whole = join(folder, 'whole');
  if (existsSync(whole)) return python;
  // Made under its last name, because an environment knows its own path; the mark says that it is whole.
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(cacheFolder, { recursive: true });
  const steps = [
    [systemPython, '-m', 'venv', folder],
    [python, '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-input', '-r', list],
  ] as const;
  for (const [program, ...args] of steps) {
    const { problem, output } = await runProgram(program, args, { timeoutMs: installTimeoutMs });
    if (problem !== '') throw new Error(`${args.slice(0, 3).join(' ')} ${problem}\n${output.slice(-4000)}`);
  }
  writeFileSync(whole, '');
  return python;
}
