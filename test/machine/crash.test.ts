// `kill -9` of a server under load at moments that a seed decides: afterwards what is written down is what is there, nothing that was
// acknowledged is missing, nothing ran twice. BULKHEAD_CRASH_ROUNDS sets how many.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { SessionId, TurnId } from '@bulkhead/protocol';
import { type Bulkhead, loadConfig, localTenant, openBulkhead } from '@bulkhead/server';
import { mulberry32 } from '../../packages/server/src/runtimes/fake/fake-runtime.ts';
import { processesWith, useBulkhead } from './support.ts';

useBulkhead(); // makes image and template where they are not there yet
const rounds = Number(process.env['BULKHEAD_CRASH_ROUNDS'] ?? 12);
const seed = 20_261_124;
const lifeMaxMs = 4000;
const stateDir = mkdtempSync(join(tmpdir(), 'bulkhead-crash-'));
const environment = { ...process.env, BULKHEAD_STATE_DIR: stateDir, BULKHEAD_POOL_MAX: '2' };
const tenant = localTenant;
after(() => rmSync(stateDir, { recursive: true }));

interface Acknowledged {
  readonly turns: Map<TurnId, { readonly session: SessionId; readonly stdout: string }>;
  readonly terminated: Set<SessionId>;
}

/** Lives for a while, then is killed. Returns what the names of its machines held. */
async function runAndKill(round: number, lifeMs: number, acknowledged: Acknowledged): Promise<string> {
  const worker = spawn(
    process.execPath,
    ['--conditions=bulkhead-source', join(import.meta.dirname, 'crash-worker.ts'), String(seed + round), tenant],
    { env: environment, stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const lines = createInterface(worker.stdout);
  const exited = once(worker, 'exit');
  const [first] = (await Promise.race([once(lines, 'line'), exited])) as [unknown];
  assert.equal(first, '{"open":true}', `round ${round}: the server starts`);
  lines.on('line', (line) => {
    const { turn, session, stdout, terminated } = JSON.parse(line) as {
      turn?: TurnId;
      session: SessionId;
      stdout: string;
      terminated?: SessionId;
    };
    if (turn !== undefined) acknowledged.turns.set(turn, { session, stdout });
    if (terminated !== undefined) acknowledged.terminated.add(terminated);
  });
  await delay(lifeMs);
  worker.kill('SIGKILL');
  await Promise.all([exited, once(lines, 'close')]);
  return `:${worker.pid}-`;
}

/** What is written down, against what is there. */
async function compare({ sessions, keeping }: Bulkhead, acknowledged: Acknowledged, where: string): Promise<void> {
  assert.ok(keeping);
  const records = sessions.listSessions(tenant);
  const asleep = records.filter(({ endedAtUnixMs }) => endedAtUnixMs === null);
  for (const { id, state } of asleep) assert.equal(state, 'suspended', `${where}: ${id}`);
  for (const id of acknowledged.terminated) {
    assert.equal(records.find((record) => record.id === id)?.state, 'terminated', `${where}: ${id}`);
  }
  const directory = join(stateDir, 'snapshots');
  const files = existsSync(directory) ? readdirSync(directory, { recursive: true, encoding: 'utf8' }) : [];
  assert.deepEqual(
    files.filter((name) => name.includes('/')).toSorted(),
    asleep.map(({ id, snapshot }) => `${id}/${snapshot}`).toSorted(),
    `${where}: the files are those that sessions sleep in`,
  );
  const keys = existsSync(join(stateDir, 'keys')) ? readdirSync(join(stateDir, 'keys')) : [];
  assert.deepEqual(keys.toSorted(), asleep.map(({ id }) => `${id}.key`).toSorted(), `${where}: keys`);
  assert.deepEqual(await keeping.store.turns.open(), [], `${where}: every turn has an end`);
  for (const [turn, { session, stdout }] of acknowledged.turns) {
    const { result } = await keeping.turns.get(tenant, session, turn);
    assert.equal(result?.status, 'ok', `${where}: ${turn}`);
    assert.match(result.stdout, new RegExp(stdout.trim()), where);
  }
}

test(`${rounds} servers killed under load leave the truth behind`, async (context) => {
  const random = mulberry32(seed);
  const acknowledged: Acknowledged = { turns: new Map(), terminated: new Set() };
  let lost = 0;
  for (let round = 0; round < rounds; round++) {
    const where = `seed ${seed}, round ${round}`;
    const killed = await runAndKill(round, random() * lifeMaxMs, acknowledged);
    await using bulkhead = await openBulkhead(loadConfig(environment), { keep: true });
    assert.deepEqual(processesWith(killed), [], `${where}: no machine is left`);
    lost += bulkhead.keeping?.recovery.lost ?? 0;
    await compare(bulkhead, acknowledged, where);
  }
  await using bulkhead = await openBulkhead(loadConfig(environment), { keep: true });
  const { sessions } = bulkhead;
  const asleep = sessions.listSessions(tenant).filter(({ state }) => state === 'suspended');
  for (const { id } of asleep) {
    const code = 'import os; print(open("log").read() if os.path.exists("log") else "")';
    const turn = await sessions.takeTurn(tenant, id, { code });
    const tokens = (await turn.result).stdout.split('\n').filter((token) => token !== '');
    assert.equal(new Set(tokens).size, tokens.length, `${id}: nothing ran twice`);
    for (const { session, stdout } of acknowledged.turns.values()) {
      if (session === id) assert.ok(tokens.includes(stdout.trim()), `${id}: ${stdout.trim()} was acknowledged`);
    }
    await sessions.terminateSession(tenant, id);
  }
  context.diagnostic(
    `${acknowledged.turns.size} turns and ${acknowledged.terminated.size} terminations acknowledged; ${lost} sessions lost with their server, ${asleep.length} asleep at the end`,
  );
  assert.ok(acknowledged.turns.size > rounds / 2, 'there was load');
});
