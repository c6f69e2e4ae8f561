// Guest code whose call waits for a person: on real machines, kept in a real PostgreSQL.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { ApprovalId, SessionId } from '@bulkhead/protocol';
import { type Bulkhead, loadConfig, localTenant, openBulkhead } from '@bulkhead/server';
import { until } from '../../packages/server/test/api/harness.ts';
import { type Portfolio, openPortfolio } from '../../packages/server/test/tools/portfolio.ts';

const home = mkdtempSync(join(tmpdir(), 'bulkhead-approvals-'));
const tenant = localTenant;
const answer = { by: 'boss', key: null, reason: null } as const;
let portfolio: Portfolio;
let bulkhead: Bulkhead;

before(async () => {
  portfolio = await openPortfolio();
  bulkhead = await open();
  await bulkhead.runtime.prepare('small', { onProgress: (message) => console.error(message) });
  const { host = '', database = '' } = portfolio.login('acme');
  const { tenants } = authority();
  await tenants.putTool(tenant, 'positions', {
    kind: 'sql',
    description: 'positions',
    host,
    port: 5432,
    database,
    user: 'acme',
    tls: 'off',
    queries: {},
    freeQueries: true,
    writes: false,
    timeoutMs: 10_000,
    rowsMaxCount: 100,
    bytesMax: 100_000,
  });
  await tenants.putPolicies(tenant, '@id("asks") @approval("required") permit(principal, action, resource);');
});
after(async () => {
  await bulkhead[Symbol.asyncDispose]();
  await portfolio[Symbol.asyncDispose]();
  rmSync(home, { recursive: true, force: true });
});

async function open(): Promise<Bulkhead> {
  const { cacheDir } = loadConfig();
  const environment = { ...process.env, BULKHEAD_STATE_DIR: join(home, 'state'), BULKHEAD_CACHE_DIR: cacheDir };
  return await openBulkhead(loadConfig(environment), { keep: true });
}

function authority(): NonNullable<Bulkhead['authority']> {
  return bulkhead.authority ?? assert.fail('it was opened with what is kept');
}

async function pending(session: SessionId): Promise<ApprovalId> {
  const { approvals } = authority();
  let id: ApprovalId | undefined;
  await until(async () => {
    [{ id } = { id: undefined }] = (await approvals.list(tenant, { state: 'pending', session })).items;
    return id !== undefined;
  }, 'a call waits');
  return id ?? assert.fail();
}
const stateOf = async (id: ApprovalId): Promise<string> => (await authority().approvals.get(tenant, id)).state;

test('code waits for a person and goes on with the answer; a call that is given up is nobody’s to approve', async () => {
  const { approvals } = authority();
  const session = await bulkhead.sessions.createSession({ tenant, grant: ['positions.*'] });
  const code = `from bulkhead import tools
try: print(tools.positions.query(sql="SELECT symbol FROM positions ORDER BY 1")["rows"])
except Exception as error: print(error.code)`;
  const run = (timeoutMs?: number) => session.startTurn({ code, ...(timeoutMs === undefined ? {} : { timeoutMs }) });

  const approved = run();
  const first = await pending(session.id);
  assert.equal(
    (await approvals.asked(await approvals.get(tenant, first))).arguments,
    '{"sql":"SELECT symbol FROM positions ORDER BY 1"}',
  );
  await approvals.answer(tenant, first, { ...answer, state: 'approved' });
  assert.equal((await approved.result).stdout, "[['DAX'], ['SMI']]\n");

  const refused = run();
  await approvals.answer(tenant, await pending(session.id), { ...answer, state: 'refused', reason: 'no' });
  assert.equal((await refused.result).stdout, 'tool_denied\n');

  const interrupted = run();
  const second = await pending(session.id);
  interrupted.interrupt();
  assert.equal((await interrupted.result).error?.code, 'turn_interrupted');
  await until(async () => (await stateOf(second)) === 'cancelled', 'nobody waits any more');

  const late = run(3000);
  const third = await pending(session.id);
  assert.equal((await late.result).error?.code, 'turn_timeout');
  await until(async () => (await stateOf(third)) === 'cancelled', 'nobody waits any more');

  const ended = run();
  const fourth = await pending(session.id);
  await bulkhead.sessions.terminateSession(tenant, session.id);
  await ended.result.catch(() => undefined);
  await until(async () => (await stateOf(fourth)) === 'cancelled', 'nobody waits any more');
  await assert.rejects(approvals.answer(tenant, fourth, { ...answer, state: 'approved' }), { code: 'state_conflict' });
});

test('a call that waits beside turns keeps its session awake, and lets it sleep when the server stops', async () => {
  const session = await bulkhead.sessions.createSession({ tenant, grant: ['positions.*'] });
  await session.startTurn({
    code: `kept = 41
import subprocess, sys
asked = subprocess.Popen([sys.executable, "-c", 'from bulkhead import tools; tools.positions.query(sql="SELECT 1")'], stderr=subprocess.PIPE)`,
  }).result;
  const id = await pending(session.id);
  await assert.rejects(bulkhead.sessions.suspendSession(tenant, session.id), { code: 'state_conflict' });
  await bulkhead[Symbol.asyncDispose]();
  bulkhead = await open();
  assert.equal(bulkhead.sessions.getSession(tenant, session.id).state, 'suspended');
  assert.equal(await stateOf(id), 'cancelled');
  const again = await bulkhead.sessions.openSession(tenant, session.id);
  const { stdout } = await again.startTurn({ code: 'print(kept + 1, asked.communicate()[1].decode()[-300:])' }).result;
  assert.match(stdout, /^42 .*(?:not waited for|cut off)/s);
  await bulkhead.sessions.terminateSession(tenant, session.id);
});
