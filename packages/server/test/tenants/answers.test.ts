// One answer for a request that is sent twice: at once, later, on another server, after a crash.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { BulkheadError } from '@bulkhead/protocol';
import { sql } from 'kysely';
import { Database, everyTenant } from '../../src/store/database.ts';
import { IdempotencyStore } from '../../src/store/idempotency-store.ts';
import { endLease, takeLease } from '../../src/store/lease.ts';
import type { Caller } from '../../src/tenants/caller.ts';
import { StoredAnswers, fingerprintOf } from '../../src/tenants/stored-answers.ts';
import type { Answer } from '../../src/tenants/tenancy.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { type Installation, type Server, callerOf, newTenant, openInstallation } from './servers.ts';

let installation: Installation;
let one: Server;
let two: Server;
let caller: Caller;

before(async () => {
  installation = await openInstallation();
  one = await installation.start('one');
  two = await installation.start('two');
  caller = callerOf(await newTenant(one));
});
after(async () => {
  await Promise.all([one[Symbol.asyncDispose](), two[Symbol.asyncDispose]()]);
  await installation[Symbol.asyncDispose]();
});

const print = fingerprintOf('POST', '/v1/sessions', Buffer.from('{}'));
const other = fingerprintOf('POST', '/v1/sessions', Buffer.from('{"size":"large"}'));
const answer: Answer = { status: 201, headers: { etag: '"1"' }, body: '{"id":"x"}' };
const never = (): Promise<Answer> => Promise.reject(new Error('it was done twice'));
let made = 0;
const newKey = (): string => `key-${(made += 1)}`;

test('the same request has the same answer, later and on the other server; another request has none', async () => {
  const key = newKey();
  assert.deepEqual(await one.tenancy.idempotency.run(caller, key, print, async () => answer), answer);
  for (const { tenancy } of [one, two]) {
    assert.deepEqual(await tenancy.idempotency.run(caller, key, print, never), answer);
    await assert.rejects(tenancy.idempotency.run(caller, key, other, never), {
      code: 'idempotency_conflict',
      details: { state: 'other' },
    });
  }
  const mine = { ...answer, body: 'mine' };
  const somebodyElse = { ...caller, subject: 'else' };
  assert.deepEqual(
    await one.tenancy.idempotency.run(somebodyElse, key, print, async () => mine),
    mine,
    'a key is of its subject',
  );
  for (const bad of ['', 'a b', 'ü', 'x'.repeat(256)]) {
    await assert.rejects(one.tenancy.idempotency.run(caller, bad, print, never), { code: 'invalid_request' });
  }
});

test('who asks meanwhile waits for the first, on both servers', async () => {
  const key = newKey();
  let runs = 0;
  const gate = Promise.withResolvers<void>();
  const begun = Promise.withResolvers<void>();
  const work = async (): Promise<Answer> => {
    runs += 1;
    begun.resolve();
    await gate.promise;
    return answer;
  };
  const asked = Array.from({ length: 12 }, (_, index) =>
    (index % 2 === 0 ? one : two).tenancy.idempotency.run(caller, key, print, work),
  );
  const waiting = new StoredAnswers({
    store: one.keeping.store.idempotency,
    keys: one.keeping.turnKeys,
    clock: systemClock,
    waitMs: 50,
  });
  await begun.promise;
  await assert.rejects(
    new StoredAnswers({
      store: two.keeping.store.idempotency,
      keys: two.keeping.turnKeys,
      clock: systemClock,
      waitMs: 50,
    }).run(caller, `${key}-late`, print, () => waiting.run(caller, `${key}-late`, print, never)),
    { code: 'idempotency_conflict', details: { state: 'running' } },
    'the wait is bounded',
  );
  gate.resolve();
  for (const each of await Promise.all(asked)) assert.deepEqual(each, answer);
  assert.equal(runs, 1);
});

test('what a dead server began is not done again, and that is said', async () => {
  await using database = await Database.open(installation.database.connection);
  const lease = await takeLease(database, 'host:dead', 'dead');
  const store = new IdempotencyStore(database, lease);
  const dead = new StoredAnswers({ store, keys: one.keeping.turnKeys, clock: systemClock });
  const key = newKey();
  const begun = Promise.withResolvers<void>();
  void dead.run(caller, key, print, () => {
    begun.resolve();
    return new Promise(() => undefined);
  });
  await begun.promise;
  await endLease(database, lease);
  for (const { tenancy } of [one, two]) {
    await assert.rejects(tenancy.idempotency.run(caller, key, print, never), {
      code: 'idempotency_conflict',
      details: { state: 'unknown' },
    });
  }
});

test('an error that changes nothing frees the key, a final one is the answer, an unclear one is told as that', async () => {
  const fail = (code: ConstructorParameters<typeof BulkheadError>[0]) => (): Promise<Answer> =>
    Promise.reject(new BulkheadError(code, 'No.', { details: { field: 'x' } }));
  const { idempotency } = one.tenancy;
  const full = newKey();
  await assert.rejects(idempotency.run(caller, full, print, fail('quota_exceeded')), { code: 'quota_exceeded' });
  assert.deepEqual(await two.tenancy.idempotency.run(caller, full, print, async () => answer), answer);
  const final = newKey();
  for (const work of [fail('state_conflict'), never]) {
    await assert.rejects(idempotency.run(caller, final, print, work), {
      code: 'state_conflict',
      message: 'No.',
      details: { field: 'x' },
    });
  }
  for (const code of ['store_unavailable', 'internal', 'cancelled'] as const) {
    const unclear = newKey();
    await assert.rejects(idempotency.run(caller, unclear, print, fail(code)), { code });
    await assert.rejects(idempotency.run(caller, unclear, print, never), {
      code: 'idempotency_conflict',
      details: { state: 'unknown' },
    });
  }
  const long = newKey();
  await idempotency.run(caller, long, print, async () => ({ ...answer, body: 'x'.repeat(2_000_000) }));
  await assert.rejects(idempotency.run(caller, long, print, never), {
    code: 'idempotency_conflict',
    details: { state: 'done' },
  });
});

test('an answer is kept for a day; then the key is free, and the reconciler removes it', async () => {
  await using database = await Database.open(installation.database.connection);
  const [reused, left] = [newKey(), newKey()];
  for (const key of [reused, left]) await one.tenancy.idempotency.run(caller, key, print, async () => answer);
  await database.transaction(everyTenant, (transaction) =>
    sql`UPDATE idempotency_keys SET expires_at = expires_at - interval '24 hours' WHERE key IN (${reused}, ${left})`.execute(
      transaction,
    ),
  );
  const again = { ...answer, body: 'again' };
  assert.deepEqual(await one.tenancy.idempotency.run(caller, reused, other, async () => again), again);
  assert.equal((await two.tenancy.reconcile()).answers, 1);
  assert.equal((await two.tenancy.reconcile()).answers, 0);
});
