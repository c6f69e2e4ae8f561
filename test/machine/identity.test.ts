// A restored machine is unique before user code runs: two sessions of one template share no random state, name or clock error.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SessionHandle } from '@bulkhead/server';
import { openSession, output, useBulkhead, value } from './support.ts';

const bulkhead = useBulkhead();

// Everything that a clone of a memory image would repeat.
const fingerprintCode = `
import json, os, uuid, random, tempfile, socket, secrets, ssl, hashlib
import numpy
print(json.dumps({
    "urandom": hashlib.sha256(os.urandom(4096)).hexdigest(),
    "getrandom": os.getrandom(32).hex(),
    "uuid4": str(uuid.uuid4()),
    "random": random.random(),
    "numpy": numpy.random.rand(),
    "numpyGenerator": numpy.random.default_rng().random(),
    "openssl": ssl.RAND_bytes(16).hex(),
    "tempfile": next(tempfile._get_candidate_names()),
    "secrets": secrets.token_hex(),
    "hostname": socket.gethostname(),
    "machineId": open("/etc/machine-id").read().strip(),
    "bootId": open("/proc/sys/kernel/random/boot_id").read().strip(),
    "kernelUuid": open("/proc/sys/kernel/random/uuid").read().strip(),
}))`;

async function fingerprint(session: SessionHandle): Promise<Record<string, unknown>> {
  return JSON.parse(await output(session, fingerprintCode)) as Record<string, unknown>;
}

test('two sessions side by side share no random state and no name', async () => {
  await using first = await openSession(bulkhead());
  await using second = await openSession(bulkhead());
  const [a, b] = [await fingerprint(first), await fingerprint(second)];
  assert.equal(Object.keys(a).length, 13);
  for (const [name, left] of Object.entries(a)) assert.notEqual(left, b[name], `${name} is the same in two sessions`);
  assert.equal(a['hostname'], first.id.replace('_', '-'));
  assert.equal(a['bootId'], first.record.bootId);
});

test('a session that has run no code yet, and its copies, draw other numbers in the first code that they run', async () => {
  await using parent = await openSession(bulkhead());
  const { tenant } = parent.record;
  const copies = await bulkhead().sessions.forkSession(tenant, parent.id, 2);
  const draw = 'import random, ssl, numpy; print(random.random(), numpy.random.rand(), ssl.RAND_bytes(8).hex())';
  const drawn = new Set<string>();
  for (const { id } of [parent.record, ...copies]) {
    const { stdout } = await bulkhead().sessions.startTurn(tenant, id, { code: draw }).result;
    for (const number of stdout.trim().split(' ')) drawn.add(number);
  }
  for (const { id } of copies) await bulkhead().sessions.terminateSession(tenant, id);
  assert.equal(drawn.size, 9, [...drawn].join(' '));
});

test('bash draws other random numbers in each session', async () => {
  const drawn = new Set<string>();
  for (let i = 0; i < 2; i++) {
    await using session = await openSession(bulkhead());
    drawn.add(await output(session, 'echo $RANDOM $RANDOM $RANDOM', 'bash'));
  }
  assert.equal(drawn.size, 2, [...drawn].join());
});

test('what the guest rehearsed before it was frozen has left nothing in the session', async () => {
  await using session = await openSession(bulkhead());
  const look =
    'import os; print(sorted(globals()), get_ipython().execution_count, len(Out), sorted(os.listdir(os.path.expanduser("~"))))';
  const [rehearsed, fresh] = [
    await session.startTurn({ code: look }).result,
    await session.startTurn({ code: look, context: 'fresh' }).result,
  ];
  assert.equal(rehearsed.status, 'ok');
  assert.equal(rehearsed.stdout, fresh.stdout);
  assert.equal(await output(session, 'echo "$? $(history | wc -l)"', 'bash'), '0 0');
});

test('contexts of one session do not repeat each other, nor does a restarted one', async () => {
  await using session = await openSession(bulkhead());
  const draw = 'import random, numpy; print(random.random(), numpy.random.rand())';
  const drawn = new Set<string>();
  for (const context of ['python', 'other', 'third']) {
    const { stdout } = await session.startTurn({ code: draw, context }).result;
    drawn.add(stdout);
  }
  await session.restartContext('python');
  drawn.add(await output(session, draw));
  assert.equal(drawn.size, 4);
});

test("javascript does not repeat another session's randomness", async () => {
  await using first = await openSession(bulkhead());
  await using second = await openSession(bulkhead());
  const draw = 'console.log(Math.random(), crypto.randomUUID())';
  assert.notEqual(await output(first, draw, 'javascript'), await output(second, draw, 'javascript'));
});

test("the guest's clock is within 50 ms of the host's", async () => {
  await using session = await openSession(bulkhead());
  await output(session, 'import time'); // the first turn is the slow one
  const errors: number[] = [];
  for (let i = 0; i < 5; i++) {
    const before = Date.now();
    const guest = (await value<number>(session, '__import__("time").time()')) * 1000;
    const after = Date.now();
    // The guest read its clock somewhere between the two.
    errors.push(Math.max(before - guest, guest - after, 0));
  }
  assert.ok(Math.min(...errors) <= 50, `clock errors: ${errors.map((ms) => ms.toFixed(1)).join(', ')} ms`);
});
