// `bulkhead serve` as a process of its own, with a state directory of its own: what it takes while it runs, and what it leaves behind.

import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Config, Runtime } from '@bulkhead/server';

/** The first one of a host makes an image and a template. */
const startMaxMs = 900_000;
const stopMaxMs = 120_000;
const sampleEveryMs = 1000;
const logKeptCount = 20;

/** What the server's process has, at one moment. */
export interface Sample {
  readonly atMs: number;
  readonly residentMib: number;
  readonly descriptors: number;
  /** Copies of templates' memory that it holds. */
  readonly templateCopies: number;
  /** Processor time that it has used. */
  readonly processorMs: number;
}

export interface Served extends AsyncDisposable {
  readonly url: string;
  /** May do everything. */
  readonly key: string;
  /** One a second, since it was ready. */
  readonly samples: readonly Sample[];
  /** Lines of its log that say that something is broken. */
  readonly broken: readonly string[];
  /** Stops it and says what is left of it; a line for each thing. */
  stop(runtime: Runtime): Promise<readonly string[]>;
}

/** Errors: what it said, when it did not start. */
export async function startServed(config: Config, onProgress: (message: string) => void): Promise<Served> {
  const stateDir = await mkdtemp(join(tmpdir(), 'bulkhead-bench-'));
  const main = fileURLToPath(new URL('../packages/cli/src/main.ts', import.meta.url));
  const child = spawn(process.execPath, [...process.execArgv, main, 'serve', '--json'], {
    env: {
      ...process.env,
      BULKHEAD_STATE_DIR: stateDir,
      BULKHEAD_CACHE_DIR: config.cacheDir,
      BULKHEAD_RUNTIME: config.runtime,
      BULKHEAD_HOST: '127.0.0.1',
      BULKHEAD_PORT: '0',
      ...unset([
        'BULKHEAD_KEY_FILE',
        'BULKHEAD_TURN_KEYS_DIR',
        'DATABASE_URL',
        'BULKHEAD_TLS_CERT',
        'BULKHEAD_TLS_KEY',
      ]),
      ...unset(['BULKHEAD_PUBLIC_URL', 'BULKHEAD_PEER_URL', 'BULKHEAD_URL', 'BULKHEAD_API_KEY']),
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const exited = new Promise<number | string>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('exit', (code, signal) => resolve(code ?? signal ?? 'nothing'));
  });
  const [broken, lastWords]: [string[], string[]] = [[], []];
  createInterface({ input: child.stderr }).on('line', (line) => {
    lastWords.splice(0, lastWords.length - logKeptCount, line);
    if (/^\{"level":[56]0,/.test(line) && broken.length < logKeptCount) broken.push(line);
    else if (!line.startsWith('{')) onProgress(line);
  });
  const end = async (): Promise<number | string> => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), stopMaxMs);
    return await exited.finally(() => clearTimeout(timer));
  };
  const dispose = async (): Promise<void> => {
    await end();
    await rm(stateDir, { recursive: true, force: true });
  };
  try {
    const { url, key } = await untilReady(child);
    const mark = markOf(child.pid ?? 0);
    const samples: Sample[] = [];
    const sampling = setInterval(() => samples.push(...takeSample(child.pid)), sampleEveryMs);
    return {
      url,
      key,
      samples,
      broken,
      stop: async (runtime) => {
        clearInterval(sampling);
        return await stopAndLook({ pid: child.pid ?? 0, mark, stateDir, runtime, end });
      },
      [Symbol.asyncDispose]: async () => {
        clearInterval(sampling);
        await dispose();
      },
    };
  } catch (error) {
    await dispose();
    throw new Error(`bulkhead serve did not start:\n${lastWords.join('\n')}`, { cause: error });
  }
}

function unset(names: readonly string[]): Readonly<Record<string, undefined>> {
  return Object.fromEntries(names.map((name) => [name, undefined]));
}

async function untilReady(child: ChildProcess): Promise<{ readonly url: string; readonly key: string }> {
  const timer = setTimeout(() => child.kill('SIGKILL'), startMaxMs);
  let [url, key] = ['', ''];
  try {
    if (child.stdout === null) throw new TypeError('its output is read');
    const lines = createInterface({ input: child.stdout });
    for await (const line of lines) {
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what our own command writes
      const event = JSON.parse(line) as { readonly event: string; readonly url?: string; readonly secret?: string };
      url = event.url ?? url;
      key = event.secret ?? key;
      if (event.event === 'ready') return { url, key };
    }
    throw new Error('it ended');
  } finally {
    clearTimeout(timer);
    // What it says later is read, so that it can go on.
    child.stdout?.resume();
  }
}

function takeSample(pid: number | undefined): readonly Sample[] {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const links = readdirSync(`/proc/${pid}/fd`).map((fd) => linkOf(`/proc/${pid}/fd/${fd}`));
    return [
      {
        atMs: performance.now(),
        residentMib: Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0) / 1024,
        descriptors: links.length,
        templateCopies: links.filter((link) => link.startsWith('/memfd:bulkhead-template')).length,
        processorMs: processorMs(pid),
      },
    ];
  } catch {
    return []; // it has ended
  }
}

/** Clock ticks are hundredths of a second, wherever Linux runs programs of this kind. */
function processorMs(pid: number | undefined): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const [user = 0, system = 0] = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .slice(11, 13)
    .map(Number);
  return 10 * (user + system);
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return ''; // it has been closed
  }
}

interface HostProcess {
  readonly pid: number;
  readonly parent: number;
  /** With its number, its identity. */
  readonly startedAt: string;
  readonly name: string;
}

function readProcess(pid: string): HostProcess | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (fields[0] === 'Z') return undefined;
    const name = stat.slice(stat.indexOf('(') + 1, stat.lastIndexOf(')'));
    return { pid: Number(pid), parent: Number(fields[1]), startedAt: fields[19] ?? '', name };
  } catch {
    return undefined; // it ended meanwhile
  }
}

/** Every process that a process has made, directly or not. */
function descendantsOf(pid: number): readonly HostProcess[] {
  const all = readdirSync('/proc').flatMap((name) => (/^\d+$/.test(name) ? (readProcess(name) ?? []) : []));
  const found = [pid];
  for (const parent of found) found.push(...all.filter((one) => one.parent === parent).map((one) => one.pid));
  return all.filter((one) => one.pid !== pid && found.includes(one.pid));
}

/** What a process of Bulkhead marks its things on the host with. */
function markOf(pid: number): string {
  const startedAt = readProcess(String(pid))?.startedAt;
  if (startedAt === undefined) throw new Error('the server has ended');
  return `${pid}-${startedAt}`;
}

interface Stopping {
  readonly pid: number;
  readonly mark: string;
  readonly stateDir: string;
  readonly runtime: Runtime;
  readonly end: () => Promise<number | string>;
}

/** The machines that it had, all processes that it had made, and what its mark is on. */
async function stopAndLook({ pid, mark, stateDir, runtime, end }: Stopping): Promise<readonly string[]> {
  const before = descendantsOf(pid);
  const left: string[] = [];
  for (const { name } of before.filter((one) => one.name.startsWith('qemu') || one.name.startsWith('runsc'))) {
    left.push(`a machine whose session was ended: ${name}`);
  }
  // Without it nothing could be seen.
  if (before.every(({ name }) => name !== 'postgres'))
    left.push('the search for processes found no PostgreSQL where one ran');
  const sessions = await filesIn(join(stateDir, 'snapshots'));
  left.push(...sessions.map((name) => `a snapshot of a session that was ended: ${name}`));
  const code = await end();
  if (code !== 0) left.push(`the server ended with ${code}`);
  for (const one of before) {
    if (readProcess(String(one.pid))?.startedAt === one.startedAt) left.push(`process ${one.pid}, ${one.name}`);
  }
  const swept = await runtime.sweep();
  left.push(...swept.filter((line) => line.includes(mark)));
  left.push(...(await filesIn(tmpdir())).filter((name) => name.includes(mark)));
  return left;
}

async function filesIn(directory: string): Promise<readonly string[]> {
  return await readdir(directory).catch(() => []);
}
