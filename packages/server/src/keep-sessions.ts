// What sessions need to outlive this process: the data directory, the store, the lease, the keys. In the order in which each needs the
// others, and taken down in the other.

import { randomUUID } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Config } from './config/config.ts';
import { systemClock } from './lib/clock.ts';
import { errnoOf } from './lib/errno.ts';
import { DayKeys } from './sealing/day-keys.ts';
import { type Recovery, recover } from './sessions/recover.ts';
import { StoredJournal } from './sessions/stored-journal.ts';
import { StoredSessions } from './sessions/stored-sessions.ts';
import { StoredSnapshots } from './sessions/stored-snapshots.ts';
import { StoredTurns } from './sessions/stored-turns.ts';
import { type KeyEncryption, LocalKeyFile } from './snapshots/key-encryption.ts';
import { KeyRing } from './snapshots/key-ring.ts';
import { SnapshotFiles } from './snapshots/snapshot-files.ts';
import { openDataDirectory } from './store/data-directory.ts';
import { Database } from './store/database.ts';
import { EmbeddedPostgres } from './store/embedded-postgres.ts';
import { type Lease, endLease, leaseMs, renewLease, takeLease } from './store/lease.ts';
import { Store } from './store/store.ts';
import { ensureLocalTenant } from './tenants/stored-tenants.ts';

export interface Keeping extends AsyncDisposable {
  readonly store: Store;
  readonly journal: StoredJournal;
  /** Sessions and turns of a tenant, whichever host has them. */
  readonly sessions: StoredSessions;
  readonly turns: StoredTurns;
  readonly turnKeys: DayKeys;
  readonly snapshots: StoredSnapshots;
  /** Wraps what is kept sealed. */
  readonly encryption: KeyEncryption;
  readonly recovery: Recovery;
}

/** Errors: `data_dir_busy`, `store_unavailable`, `key_unavailable`. */
export async function keepSessions(config: Config): Promise<Keeping> {
  await using opening = new AsyncDisposableStack();
  const { path, lockFd } = opening.use(await openDataDirectory(config.stateDir));
  const { databaseUrl } = config;
  const embedded =
    databaseUrl === undefined ? opening.use(await EmbeddedPostgres.start(path, lockFd)).connection : undefined;
  const connection = embedded ?? { connectionString: databaseUrl };
  const database = opening.use(await Database.open(connection, { prepares: embedded !== undefined }));
  const host = await hostId(join(path, 'host-id'));
  // The data directory is ours alone: whoever had this host's lease before is gone.
  const lease = await takeLease(database, `host:${host}`, host);
  opening.defer(() => endLease(database, lease).catch(() => undefined));
  opening.use(keepLease(database, lease));
  const store = new Store(database, lease);
  await ensureLocalTenant(store, config.retentionDays, Date.now());
  const keysDir = join(path, 'keys');
  const encryption = await openKeyFile(config, keysDir);
  const keys = new KeyRing(keysDir, encryption);
  const turnKeys = new DayKeys({ directory: config.turnKeysDir, host, encryption, clock: systemClock });
  const turns = new StoredTurns(store.turns, turnKeys);
  const files = new SnapshotFiles(join(path, 'snapshots'));
  const snapshots = new StoredSnapshots(store.snapshots, files, keys);
  const recovery = await recover({ store, turns, files, keys, snapshots }, Date.now());
  const journal = opening.use(new StoredJournal(store.sessions, turns));
  const open = opening.move();
  const sessions = new StoredSessions(store);
  return {
    store,
    journal,
    sessions,
    turns,
    turnKeys,
    snapshots,
    encryption,
    recovery,
    [Symbol.asyncDispose]: () => open.disposeAsync(),
  };
}

/** A new key file only where no key was ever wrapped: a key file that is gone is told, not replaced. */
async function openKeyFile({ keyFile, turnKeysDir }: Config, keysDir: string): Promise<LocalKeyFile> {
  const create = !(await KeyRing.holdsAny(keysDir)) && !(await DayKeys.holdsAny(turnKeysDir));
  return await LocalKeyFile.open(keyFile, { create });
}

async function hostId(path: string): Promise<string> {
  try {
    return (await readFile(path, 'utf8')).trim();
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
  const id = randomUUID();
  await writeFile(path, `${id}\n`, { flag: 'wx', mode: 0o600 });
  return id;
}

/** A renewal that fails is tried again with the next; a lease that is lost makes every change fail. */
function keepLease(database: Database, lease: Lease): Disposable {
  const timer = setInterval(() => void renewLease(database, lease).catch(() => undefined), leaseMs / 3);
  timer.unref();
  return { [Symbol.dispose]: () => clearInterval(timer) };
}
