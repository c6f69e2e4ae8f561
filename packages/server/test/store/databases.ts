// The two kinds of database that Bulkhead works with: the one that it starts itself, and one that somebody else runs and `DATABASE_URL` names. For the second
// the distribution's PostgreSQL is started where there is one (another version, over TCP, with a password), otherwise one more of the first.

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Client, type PoolConfig } from 'pg';
import { openDataDirectory } from '../../src/store/data-directory.ts';
import { EmbeddedPostgres } from '../../src/store/embedded-postgres.ts';

export const databaseKinds = ['embedded', 'DATABASE_URL'] as const;
export type DatabaseKind = (typeof databaseKinds)[number];

export interface TestDatabase extends AsyncDisposable {
  readonly connection: PoolConfig;
  /** As `DATABASE_URL` has it. */
  readonly url: string;
  /** All of its files. */
  readonly files: string;
  /** Of a superuser, whom row-level security does not bind. */
  readonly superuserUrl: string;
  readonly embedded: EmbeddedPostgres | undefined;
}

export async function openTestDatabase(kind: DatabaseKind): Promise<TestDatabase> {
  const binaries = kind === 'embedded' ? undefined : findDistribution();
  return binaries === undefined ? await openEmbedded() : await openDistribution(binaries);
}

async function openEmbedded(): Promise<TestDatabase> {
  const path = mkdtempSync(join(tmpdir(), 'bulkhead-db-'));
  const directory = await openDataDirectory(path);
  const embedded = await EmbeddedPostgres.start(path, directory.lockFd);
  const files = join(path, 'postgres');
  return {
    connection: embedded.connection,
    url: `postgresql://bulkhead@localhost/bulkhead?host=${encodeURIComponent(files)}`,
    files,
    superuserUrl: `postgresql://postgres@localhost/bulkhead?host=${encodeURIComponent(files)}`,
    embedded,
    async [Symbol.asyncDispose]() {
      await embedded[Symbol.asyncDispose]();
      directory[Symbol.dispose]();
      rmSync(path, { recursive: true });
    },
  };
}

function findDistribution(): string | undefined {
  const root = '/usr/lib/postgresql';
  const versions = existsSync(root) ? readdirSync(root) : [];
  return versions.map((version) => join(root, version, 'bin')).find((path) => existsSync(join(path, 'postgres')));
}

async function openDistribution(binaries: string): Promise<TestDatabase> {
  const path = mkdtempSync(join(tmpdir(), 'bulkhead-db-'));
  const isRoot = process.getuid?.() === 0;
  // PostgreSQL refuses root; the package has made this user.
  const become = isRoot ? ['setpriv', '--reuid=postgres', '--regid=postgres', '--clear-groups'] : [];
  const run = (program: string, ...given: readonly string[]): readonly [string, readonly string[]] => {
    const [first = '', ...rest] = [...become, join(binaries, program), ...given];
    return [first, rest];
  };
  const files = join(path, 'data');
  mkdirSync(files, { mode: 0o700 });
  const password = join(path, 'password');
  writeFileSync(password, 'super');
  if (isRoot) spawnSync('chown', ['-R', 'postgres:postgres', path]);
  const made = spawnSync(
    ...run('initdb', '-D', files, '-U', 'postgres', '--auth=scram-sha-256', `--pwfile=${password}`, '-E', 'UTF8'),
    { encoding: 'utf8', cwd: path },
  );
  if (made.status !== 0) throw new Error(`initdb: ${made.stderr}`);
  const port = await freePort();
  const settings = [`port=${port}`, 'listen_addresses=127.0.0.1', `unix_socket_directories=${path}`];
  const options = [...settings, 'shared_buffers=16MB', 'max_connections=40'].flatMap((each) => ['-c', each]);
  const server = spawn(...run('postgres', '-D', files, ...options), { stdio: 'ignore', detached: true, cwd: path });
  const urlOf = (user: string, secret: string, database: string): string =>
    `postgresql://${user}:${secret}@127.0.0.1:${port}/${database}`;
  await prepare(urlOf('postgres', 'super', 'postgres'));
  const url = urlOf('bulkhead', 'secret', 'bulkhead');
  return {
    connection: { connectionString: url },
    url,
    files,
    superuserUrl: urlOf('postgres', 'super', 'bulkhead'),
    embedded: undefined,
    async [Symbol.asyncDispose]() {
      const exited = once(server, 'exit');
      server.kill('SIGINT');
      await exited;
      rmSync(path, { recursive: true });
    },
  };
}

async function prepare(url: string): Promise<void> {
  for (const deadline = performance.now() + 30_000; ; await delay(50)) {
    const client = new Client({ connectionString: url });
    client.on('error', () => undefined);
    try {
      await client.connect();
      await client.query("CREATE ROLE bulkhead LOGIN PASSWORD 'secret'");
      await client.query('CREATE DATABASE bulkhead OWNER bulkhead');
      return;
    } catch (error) {
      if (performance.now() > deadline) throw error;
    } finally {
      await client.end().catch(() => undefined);
    }
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  if (typeof address !== 'object' || address === null) throw new TypeError('no port');
  return address.port;
}
