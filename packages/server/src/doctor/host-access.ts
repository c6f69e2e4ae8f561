// All that the doctor sees of the host, so that a test can put another host in its place.

import { spawn } from 'node:child_process';
import { constants } from 'node:fs';
import { access, mkdir, open, readdir, readFile, rmdir, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';

const outputMaxBytes = 65_536;

export interface CommandResult {
  /** Why there is no exit code: the program is not there, or it did not end in time. */
  readonly problem: 'missing' | 'timeout' | null;
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface HostAccess {
  /** The effective user id. */
  readonly uid: number;
  /** The text of a file, or undefined when it is not there or may not be read. */
  readText(path: string): Promise<string | undefined>;
  /** The names in a folder; none when it is not there. */
  listNames(path: string): Promise<readonly string[]>;
  exists(path: string): Promise<boolean>;
  /** Opens a file for reading and writing and closes it; the error code, or undefined when it worked. */
  tryOpen(path: string): Promise<string | undefined>;
  /** The error code, or undefined when it worked. */
  makeFolder(path: string): Promise<string | undefined>;
  removeFolder(path: string): Promise<void>;
  /** Free bytes where the path is or would be. */
  freeBytes(path: string): Promise<number>;
  /** Runs a program and waits for its end, at most `timeoutMs`; then it is killed. Never rejects. */
  run(argv: readonly [string, ...string[]], timeoutMs: number): Promise<CommandResult>;
}

function errorCode(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'EUNKNOWN';
}

async function codeOf(work: Promise<unknown>): Promise<string | undefined> {
  try {
    await work;
    return undefined;
  } catch (error) {
    return errorCode(error);
  }
}

function run(argv: readonly [string, ...string[]], timeoutMs: number): Promise<CommandResult> {
  const [program, ...args] = argv;
  return new Promise((resolve) => {
    let stdout = '';
    let stderr = '';
    const child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
    });
    child.stdout.on('data', (chunk: Buffer) => (stdout = `${stdout}${chunk.toString()}`.slice(0, outputMaxBytes)));
    child.stderr.on('data', (chunk: Buffer) => (stderr = `${stderr}${chunk.toString()}`.slice(0, outputMaxBytes)));
    child.once('error', () => resolve({ problem: 'missing', exitCode: null, stdout, stderr }));
    child.once('close', (exitCode) =>
      resolve({ problem: exitCode === null ? 'timeout' : null, exitCode, stdout, stderr }),
    );
  });
}

async function freeBytes(path: string): Promise<number> {
  try {
    const { bavail, bsize } = await statfs(path);
    return bavail * bsize;
  } catch (error) {
    const parent = dirname(path);
    if (errorCode(error) !== 'ENOENT' || parent === path) throw error;
    return freeBytes(parent);
  }
}

/** The real host. `root` is put before every absolute path that is read, so that a copy of `/proc` and `/sys` can stand in. */
export function openHost(root = '/'): HostAccess {
  const at = (path: string): string => join(root, path);
  return {
    uid: process.geteuid?.() ?? -1,
    async readText(path) {
      return readFile(at(path), 'utf8').catch(() => undefined);
    },
    async listNames(path) {
      return readdir(at(path)).catch(() => []);
    },
    async exists(path) {
      return (await codeOf(access(at(path), constants.F_OK))) === undefined;
    },
    async tryOpen(path) {
      return codeOf(open(at(path), constants.O_RDWR).then((handle) => handle.close()));
    },
    async makeFolder(path) {
      return codeOf(mkdir(at(path)));
    },
    async removeFolder(path) {
      await rmdir(at(path));
    },
    freeBytes,
    run,
  };
}
