// What turns were given and told is nowhere in the files of the database, and cannot be opened when its retention is over.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { sql } from 'kysely';
import { Client } from 'pg';
import { DayKeys } from '../../src/sealing/day-keys.ts';
import { forgetTurns } from '../../src/sessions/retention.ts';
import { LocalKeyFile } from '../../src/snapshots/key-encryption.ts';
import { Database, everyTenant } from '../../src/store/database.ts';
import { databaseKinds } from '../store/databases.ts';
import { type Installation, type Server, callerOf, newTenant, openInstallation } from './servers.ts';

const dayMs = 86_400_000;

/** The files below a directory that hold a text. */
function filesWith(text: string, directory: string): readonly string[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' }).filter((name) => {
    const path = join(directory, name);
    return statSync(path).isFile() && readFileSync(path).includes(text);
  });
}

function later(days: number): {
  readonly nowMs: () => number;
  readonly unixMs: () => number;
  readonly after: () => () => void;
} {
  return { nowMs: () => performance.now(), unixMs: () => Date.now() + days * dayMs, after: () => () => undefined };
}

for (const kind of databaseKinds) {
  describe(kind, () => {
    test('a canary is in no file of the database, and in what is left of it cannot be read after its retention', async () => {
      await using installation = await openInstallation(kind);
      await using server = await installation.start('one');
      const { keeping, sessions, tenancy } = server;
      const [printed, raised, open] = [1, 2, 3].map(() => `canary-${randomBytes(16).toString('hex')}`);
      assert.ok(printed !== undefined && raised !== undefined && open !== undefined);
      const tenant = await newTenant(server);
      await tenancy.tenants.update(tenant, { retentionDays: 7 });
      const session = await sessions.createSession({ tenant });
      const turn = session.startTurn({ code: `print("${printed}")` });
      assert.equal((await turn.result).stdout, `${printed}\n`);
      await session.startTurn({ code: `raise("${raised}")` }).result;
      const answer = { status: 200, headers: {}, body: printed };
      await tenancy.idempotency.run(callerOf(tenant), 'key', Buffer.alloc(32), async () => answer);
      await using database = await Database.open(installation.database.connection);
      // The control: the same way, through the write-ahead log into the heap, in a row that is not sealed.
      await database.transaction(everyTenant, (transaction) =>
        sql`INSERT INTO hosts (name, url) VALUES ('control', ${open})`.execute(transaction),
      );
      const superuser = new Client({ connectionString: installation.database.superuserUrl });
      await superuser.connect();
      await superuser.query('CHECKPOINT');
      const { files } = installation.database;
      assert.ok(
        filesWith(open, files).some((name) => name.includes('base')),
        'the control is found in the heap',
      );
      assert.ok(
        filesWith(open, files).some((name) => name.includes('pg_wal')),
        'and in the log',
      );
      for (const canary of [printed, raised]) assert.deepEqual(filesWith(canary, files), []);

      // What somebody copied meanwhile: every row, and the key file.
      const rows = await database.transaction(everyTenant, (transaction) =>
        transaction
          .selectFrom('turn_events')
          .innerJoin('turns', 'turns.id', 'turn_events.turn')
          .select(['turn', 'sequence', 'event', 'sealed_with'])
          .execute(),
      );
      const encryption = await LocalKeyFile.open(server.config.keyFile, { create: false });
      const thief = (): DayKeys =>
        new DayKeys({ directory: server.config.turnKeysDir, host: 'thief', encryption, clock: later(0) });
      const read = async (keys: DayKeys): Promise<string> => {
        let all = '';
        for (const { turn: id, sequence, event, sealed_with: sealedWith } of rows) {
          assert.ok(sealedWith !== null);
          all += await keys.open({ tenant, sealedWith, what: `turn ${id} events ${sequence}` }, event);
        }
        return all;
      };
      assert.ok((await read(thief())).includes(printed), 'the control: with the keys of the day it is read');

      const { store, turnKeys: keys } = keeping;
      assert.deepEqual(await forgetTurns({ store, keys, clock: later(6) }), { turns: 0, keys: 0 });
      assert.equal((await keeping.turns.get(tenant, session.id, turn.id)).result?.stdout, `${printed}\n`);
      await database.transaction(everyTenant, (transaction) =>
        sql`UPDATE turns SET ended_at = ended_at - interval '7 days', started_at = started_at - interval '7 days'`.execute(
          transaction,
        ),
      );
      assert.deepEqual(
        await forgetTurns({ store, keys, clock: later(9) }),
        { turns: 2, keys: 0 },
        'an answer still needs the key',
      );
      await database.transaction(everyTenant, (transaction) => sql`DELETE FROM idempotency_keys`.execute(transaction));
      assert.deepEqual(await forgetTurns({ store, keys, clock: later(9) }), { turns: 0, keys: 1 });
      await assert.rejects(keeping.turns.get(tenant, session.id, turn.id), { code: 'not_found' });
      await assert.rejects(read(thief()), { code: 'key_unavailable' });
      await assert.rejects(read(keys), { code: 'key_unavailable' }, 'nor with what the server remembers');
      assert.deepEqual(readdirSync(server.config.turnKeysDir), []);
      await superuser.end();
    });
  });
}

describe('a reconciler', () => {
  let installation: Installation;
  let server: Server;
  before(async () => {
    installation = await openInstallation();
    server = await installation.start('one');
  });
  after(async () => {
    await server[Symbol.asyncDispose]();
    await installation[Symbol.asyncDispose]();
  });

  test('a key of a tenant that this database does not know stays: it may be the wrong database', async () => {
    const { store, turnKeys: keys } = server.keeping;
    const tenant = await newTenant(server);
    const unknown = 'ten_zzzzzzzzzzzzzzzzzzzzzzzzzz';
    for (const whose of [tenant, unknown]) await keys.seal({ tenant: whose, sealedWith: keys.today(), what: 'x' }, 'x');
    assert.deepEqual(await forgetTurns({ store, keys, clock: later(4000) }), { turns: 0, keys: 1 });
    assert.deepEqual(
      (await keys.list()).map((key) => key.tenant),
      [unknown],
    );
  });

  test('days in place of what tenants say: all that has ended', async () => {
    const tenant = await newTenant(server);
    const session = await server.sessions.createSession({ tenant });
    for (let count = 0; count < 120; count += 1) await session.startTurn({ code: 'print(1)' }).result;
    assert.equal((await server.tenancy.reconcile()).turns, 0);
    assert.equal((await server.tenancy.reconcile(0)).turns, 120);
    assert.deepEqual((await server.keeping.turns.list(tenant, session.id)).items, []);
  });
});
