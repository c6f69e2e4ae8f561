import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { Interrupts } from '../src/interrupts.ts';
import { Output } from '../src/output.ts';
import { main } from '../src/run-command-line.ts';

const mainPath = fileURLToPath(new URL('../src/main.ts', import.meta.url));
export const nodeArguments: readonly string[] = [
  '--conditions=bulkhead-source',
  '--disable-warning=ExperimentalWarning',
  mainPath,
];

export interface CliResult {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CliOptions {
  readonly input?: string | Uint8Array;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly onSpawn?: (child: ChildProcess) => void;
  /** Called with the process and what it has printed so far, whenever it prints. */
  readonly onOutput?: (child: ChildProcess, stdout: string) => void;
}

export function fakeEnvironment(home: string): Record<string, string> {
  return { PATH: process.env['PATH'] ?? '', HOME: home, BULKHEAD_RUNTIME: 'fake', BULKHEAD_ALLOW_FAKE: '1' };
}

/** Runs the command on the fake runtime, in this process: everything but the edge in `process.ts`. */
export async function callCli(
  args: readonly string[],
  options: Pick<CliOptions, 'input' | 'cwd'> = {},
): Promise<CliResult> {
  const workingDir = options.cwd ?? tmpdir();
  Object.assign(process.env, fakeEnvironment(workingDir));
  const stdout = new Collector();
  const stderr = new Collector();
  const interrupts = new Interrupts();
  const exitCode = await main(args, {
    stdin: Readable.from([Buffer.from(options.input ?? '')]),
    stdinIsTty: false,
    stdout: new Output(stdout, () => interrupts.end()),
    stderr: new Output(stderr, () => undefined),
    terminal: stdout,
    interrupts,
    elapsedMs: () => performance.now(),
    workingDir,
  });
  return { exitCode, stdout: stdout.text, stderr: stderr.text };
}

class Collector extends Writable {
  text = '';

  override _write(chunk: Buffer, _encoding: string, callback: () => void): void {
    this.text += chunk.toString('utf8');
    callback();
  }
}

/** Runs the command on the fake runtime, as a process of its own. */
export async function runCli(args: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  const cwd = options.cwd ?? tmpdir();
  const child = spawn(process.execPath, [...nodeArguments, ...args], {
    cwd,
    env: { ...fakeEnvironment(cwd), ...options.env },
    stdio: 'pipe',
  });
  options.onSpawn?.(child);
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
    options.onOutput?.(child, stdout);
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
    options.onOutput?.(child, stdout + stderr);
  });
  child.stdin.on('error', () => undefined);
  child.stdin.end(options.input ?? '');
  const exitCode = await new Promise<number | null>((resolve) => void child.on('close', resolve));
  return { exitCode, stdout, stderr };
}

export interface Folder extends AsyncDisposable {
  readonly path: string;
}

export async function makeFolder(): Promise<Folder> {
  const path = await mkdtemp(join(tmpdir(), 'bulkhead-cli-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}
