// A store of one host, for tests of what is kept in it beside sessions.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { systemClock } from '../../src/lib/clock.ts';
import { DayKeys } from '../../src/sealing/day-keys.ts';
import { LocalKeyFile } from '../../src/snapshots/key-encryption.ts';
import { Database } from '../../src/store/database.ts';
import { takeLease } from '../../src/store/lease.ts';
import { Store } from '../../src/store/store.ts';
import { openTestDatabase } from '../store/databases.ts';

export interface Kept extends AsyncDisposable {
  readonly path: string;
  readonly database: Database;
  readonly store: Store;
  readonly keys: DayKeys;
  /** The files of the database. */
  readonly files: string;
  /** Writes out what the database has in memory. */
  checkpoint(): Promise<void>;
}

export async function openKept(): Promise<Kept> {
  await using opening = new AsyncDisposableStack();
  const path = mkdtempSync(join(tmpdir(), 'bulkhead-kept-'));
  opening.defer(() => rmSync(path, { recursive: true }));
  const { connection, files, superuserUrl } = opening.use(await openTestDatabase('embedded'));
  const database = opening.use(await Database.open(connection));
  const store = new Store(database, await takeLease(database, 'host:kept', 'kept'));
  const encryption = await LocalKeyFile.open(join(path, 'turns-key'), { create: true });
  const keys = new DayKeys({ directory: join(path, 'turns'), host: 'kept', encryption, clock: systemClock });
  const open = opening.move();
  return {
    path,
    database,
    store,
    keys,
    files,
    async checkpoint() {
      const client = new Client({ connectionString: superuserUrl });
      await client.connect();
      await client.query('CHECKPOINT');
      await client.end();
    },
    [Symbol.asyncDispose]: () => open.disposeAsync(),
  };
}
