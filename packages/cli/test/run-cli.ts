import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { after, before, describe } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type RunningServer, loadConfig, startServer } from '@bulkhead/server';
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
  options: Pick<CliOptions, 'input' | 'cwd' | 'env'> = {},
): Promise<CliResult> {
  const workingDir = options.cwd ?? tmpdir();
  const noServer = { BULKHEAD_URL: '', BULKHEAD_API_KEY: '', BULKHEAD_STATE_DIR: '' };
  Object.assign(process.env, noServer, fakeEnvironment(workingDir), options.env);
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

/** A server on the fake runtime, with a folder of its own. */
export interface TestServer extends AsyncDisposable {
  readonly server: RunningServer;
  readonly stateDir: string;
  /** The first key. */
  readonly apiKey: string;
  /** What a command needs to ask it. */
  readonly env: Readonly<Record<string, string>>;
}

export async function startTestServer(): Promise<TestServer> {
  await using opening = new AsyncDisposableStack();
  const { path } = opening.use(await makeFolder());
  const stateDir = join(path, 'state');
  const environment = { BULKHEAD_PORT: '0', BULKHEAD_STATE_DIR: stateDir, BULKHEAD_DRAIN_SECONDS: '0' };
  const config = loadConfig({ ...fakeEnvironment(path), ...environment, BULKHEAD_LOG_LEVEL: 'silent' });
  const server = opening.use(await startServer(config, { version: '0.0.0', checkAnswers: true }));
  if (server.first === undefined) throw new Error('a first start makes a key');
  const { secret: apiKey } = server.first;
  const opened = opening.move();
  const env = { BULKHEAD_URL: server.url, BULKHEAD_API_KEY: apiKey };
  return { server, stateDir, apiKey, env, [Symbol.asyncDispose]: () => opened.disposeAsync() };
}

export interface Commands {
  readonly callCli: typeof callCli;
  readonly runCli: typeof runCli;
  /** For a process that a test starts by itself. */
  readonly environment: (home: string) => Readonly<Record<string, string>>;
}

/**
 * The same cases in the process of the command and on a server: what is printed is the same. Cases with states of their own run one at a time: the
 * environment is the process's.
 */
export function describeBothWays(
  name: string,
  cases: (commands: Commands) => void,
  { concurrency = 2 }: { readonly concurrency?: number } = {},
): void {
  describe(`${name}, in this process`, { concurrency }, () => cases({ callCli, runCli, environment: fakeEnvironment }));
  describeOnServer(name, cases, { concurrency });
}

export function describeOnServer(
  name: string,
  cases: (commands: Commands) => void,
  { concurrency = 2 }: { readonly concurrency?: number } = {},
): void {
  describe(`${name}, on a server`, { concurrency }, () => {
    let opened: TestServer | undefined;
    before(async () => {
      opened = await startTestServer();
    });
    after(async () => {
      await opened?.[Symbol.asyncDispose]();
    });
    const withServer = (options: CliOptions = {}): CliOptions => ({
      ...options,
      env: { ...opened?.env, ...options.env },
    });
    cases({
      callCli: (args, options) => callCli(args, withServer(options)),
      runCli: (args, options) => runCli(args, withServer(options)),
      environment: (home) => ({ ...fakeEnvironment(home), ...opened?.env }),
    });
  });
}
