// Calls that wait for a person: in a real PostgreSQL, with two servers on it.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, test } from 'node:test';
import { type ApprovalId, type TenantId, limits, makeId } from '@bulkhead/protocol';
import { writeCedarSchema } from '../../src/authority/cedar-schema.ts';
import { PolicyEngine } from '../../src/authority/policy-engine.ts';
import { readPolicySet } from '../../src/authority/policy-set.ts';
import type { ToolDescription } from '../../src/authority/tool-description.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { FakeRuntime } from '../../src/runtimes/fake/fake-runtime.ts';
import { Sessions } from '../../src/sessions/sessions.ts';
import { type ApprovalFacts, StoredApprovals } from '../../src/sessions/stored-approvals.ts';
import { StoredDecisions } from '../../src/sessions/stored-decisions.ts';
import { type TenantTools, ToolCalls } from '../../src/sessions/tool-calls.ts';
import { endLease, takeLease } from '../../src/store/lease.ts';
import { Store } from '../../src/store/store.ts';
import { unbounded } from '../../src/store/tenant-row.ts';
import type { Tool } from '../../src/tools/tool.ts';
import { until } from '../api/harness.ts';
import { type Kept, openKept } from './kept.ts';

const payments: ToolDescription = {
  name: 'payments',
  description: 'payments',
  operations: {
    send: {
      description: 'sends',
      resource: 'Endpoint',
      parameters: {
        to: { kind: 'name', description: 'whom' },
        cents: { kind: 'integer', description: 'how much' },
        note: { kind: 'json', description: 'what no policy sees', optional: true },
      },
    },
  },
};
const schema = writeCedarSchema([payments]);
const large = `
  @id("small") permit(principal, action, resource) when { context.cents < 100 };
  @id("large") @approval("required") permit(principal, action, resource) when { context.cents < 100000 };`;
const engine = new PolicyEngine();
let kept: Kept;

before(async () => {
  kept = await openKept();
});
after(() => kept[Symbol.asyncDispose]());

interface Bench extends AsyncDisposable {
  readonly tenant: TenantId;
  readonly sessions: Sessions;
  readonly decisions: StoredDecisions;
  readonly approvals: StoredApprovals;
  /** What the tool was given, each time. */
  readonly sent: string[];
  /** What is set up; a test changes it. */
  set: TenantTools;
  resource: string;
  call(given: unknown, signal?: AbortSignal): Promise<string>;
  pending(): Promise<ApprovalFacts>;
}

async function open({ timeoutMs = 60_000, store = kept.store } = {}): Promise<Bench> {
  const tenant = makeId('tenant');
  const row = { id: tenant, name: `t-${tenant.slice(4, 12)}`, quotas: unbounded, minimumTier: null, retentionDays: 30 };
  assert.ok(await kept.store.tenants.insert({ ...row, createdAtUnixMs: Date.now() }));
  const sent: string[] = [];
  const tool: Tool = {
    description: payments,
    resourceOf: () => ({ type: 'Endpoint', id: bench.resource, within: [] }),
    call: async (_, { canonical }) => {
      sent.push(canonical);
      return { kind: 'value', value: 'sent' };
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
  const decisions = new StoredDecisions({ store: store.decisions, keys: kept.keys, clock: systemClock, engine });
  const approvals = new StoredApprovals({ store: store.approvals, keys: kept.keys, timeoutMs });
  const runtime = new FakeRuntime({ clock: systemClock });
  const tools = new ToolCalls({
    engine,
    source: { of: () => Promise.resolve(bench.set) },
    log: decisions,
    approvals,
    clock: systemClock,
    region: 'here',
  });
  const sessions = new Sessions({ runtimes: [runtime], tools });
  const { id } = await sessions.createSession({ tenant, grant: ['payments.*'] });
  const guest = [...runtime.machines.values()].at(-1)?.guest ?? assert.fail('there is a machine');
  const bench: Bench = {
    tenant,
    sessions,
    decisions,
    approvals,
    sent,
    set: { tenantName: 'acme', tools: new Map([['payments', tool]]), policies: readPolicySet(large, schema) },
    resource: 'payments.send',
    async call(given, signal) {
      assert.ok(guest.call);
      const answer = await guest.call('payments', 'send', JSON.stringify(given), signal);
      return answer.ok ? 'ok' : answer.error.code;
    },
    async pending() {
      let found: ApprovalFacts | undefined;
      await until(async () => {
        [found] = (await approvals.list(tenant, { state: 'pending', session: id })).items;
        return found !== undefined;
      }, 'a call waits');
      return found ?? assert.fail();
    },
    async [Symbol.asyncDispose]() {
      await sessions.close();
      await approvals[Symbol.asyncDispose]();
    },
  };
  return bench;
}

const yes = { state: 'approved', by: 'boss', key: null, reason: null } as const;
const no = { ...yes, state: 'refused', reason: 'too much' } as const;

test('a call waits for a person, who sees exactly what is then done, once', async () => {
  await using bench = await open();
  assert.equal(await bench.call({ to: 'bob', cents: 5 }), 'ok', 'no person is asked about little');
  const call = bench.call({ cents: 5000, to: 'bob', note: { b: 1, a: ['é'] } });
  const asked = await bench.pending();
  assert.equal(bench.sent.length, 1, 'nothing is done before');
  const { arguments: shown, resource } = await bench.approvals.asked(asked);
  assert.equal(shown, '{"cents":5000,"note":{"a":["é"],"b":1},"to":"bob"}');
  assert.equal(createHash('sha256').update(shown).digest('hex'), asked.argumentsDigest);
  assert.deepEqual(
    [asked.action, resource, asked.policies, asked.subject],
    ['payments.send', 'Endpoint payments.send', ['large'], 'local'],
  );
  const answered = await bench.approvals.answer(bench.tenant, asked.id, { ...yes, reason: 'as agreed' });
  assert.deepEqual([answered.state, answered.answeredBy, answered.reason], ['approved', 'boss', 'as agreed']);
  assert.equal(await call, 'ok');
  assert.deepEqual(bench.sent.slice(1), [shown]);
  // It was for that one call.
  const again = bench.call({ cents: 5000, to: 'bob', note: { b: 1, a: ['é'] } });
  assert.notEqual((await bench.pending()).id, asked.id);
  await bench.approvals.answer(bench.tenant, (await bench.pending()).id, no);
  assert.equal(await again, 'tool_denied');
  assert.equal(bench.sent.length, 2);

  const { items } = await bench.decisions.list(bench.tenant, {});
  assert.deepEqual(
    items.map(({ outcome, approval, endedAtUnixMs }) => [outcome, approval === asked.id, endedAtUnixMs !== null]),
    [
      ['ask', false, false],
      ['ask', true, true],
      ['ask', true, false],
      ['allow', false, true],
    ],
  );
  assert.equal(items[2]?.id, asked.decision);
  const replayed = await bench.decisions.compare(bench.tenant, {}, {});
  assert.deepEqual([replayed.compared, replayed.changes], [4, []]);
});

test('of several answers at the same time, on two servers, one counts', async () => {
  await using bench = await open();
  const lease = await takeLease(kept.database, 'host:other', 'other');
  const store = new Store(kept.database, lease).approvals;
  await using elsewhere = new StoredApprovals({ store, keys: kept.keys, timeoutMs: 1000 });
  for (let round = 0; round < 5; round += 1) {
    const call = bench.call({ to: 'bob', cents: 500 });
    const { id } = await bench.pending();
    const answers = await Promise.allSettled(
      [yes, no, yes, no].map((answer, index) =>
        (index % 2 === 0 ? elsewhere : bench.approvals).answer(bench.tenant, id, { ...answer, by: `boss-${index}` }),
      ),
    );
    const taken = answers.filter((answer) => answer.status === 'fulfilled');
    const refused = answers.filter((answer) => answer.status === 'rejected');
    assert.deepEqual([taken.length, refused.length], [1, 3]);
    assert.ok(refused.every(({ reason }) => reason.code === 'state_conflict'));
    const { state, answeredBy } = await bench.approvals.get(bench.tenant, id);
    assert.deepEqual([state, answeredBy], [taken[0]?.value.state, taken[0]?.value.answeredBy]);
    const done = bench.sent.length;
    assert.equal(await call, state === 'approved' ? 'ok' : 'tool_denied');
    assert.ok(bench.sent.length <= done + 1);
  }
});

test('what was taken back while the call waited counts', async () => {
  await using bench = await open();
  const { set } = bench;
  const approvedAfter = async (change: () => void): Promise<string> => {
    bench.set = set;
    bench.resource = 'payments.send';
    const call = bench.call({ to: 'bob', cents: 500 });
    const { id } = await bench.pending();
    change();
    await bench.approvals.answer(bench.tenant, id, yes);
    return await call;
  };
  const forbidden = readPolicySet(`${large} forbid(principal, action, resource);`, schema);
  assert.equal(await approvedAfter(() => (bench.set = { ...set, policies: forbidden })), 'tool_denied');
  assert.equal(await approvedAfter(() => (bench.set = { ...set, tools: new Map() })), 'tool_denied');
  assert.equal(
    await approvedAfter(() => (bench.set = { ...set, disabledSubjects: new Set(['local']) })),
    'tool_denied',
  );
  assert.equal(
    await approvedAfter(() => (bench.resource = 'payments.elsewhere')),
    'tool_denied',
    'the tool leads elsewhere',
  );
  assert.deepEqual(bench.sent, []);
  assert.equal(await approvedAfter(() => undefined), 'ok');
  const allowed = readPolicySet('permit(principal, action, resource);', schema);
  assert.equal(await approvedAfter(() => (bench.set = { ...set, policies: allowed })), 'ok');
});

test('nobody answers what is over: its time, its caller, its session, its server', async () => {
  await using bench = await open();
  const states = async (ids: readonly ApprovalId[]): Promise<readonly string[]> =>
    await Promise.all(ids.map(async (id) => (await bench.approvals.get(bench.tenant, id)).state));
  const conflict = (id: ApprovalId): Promise<void> =>
    assert.rejects(bench.approvals.answer(bench.tenant, id, yes), { code: 'state_conflict' });

  const gone = new AbortController();
  const call = bench.call({ to: 'bob', cents: 500 }, gone.signal);
  const { id: left } = await bench.pending();
  gone.abort();
  assert.equal(await call, 'cancelled');
  assert.deepEqual(await states([left]), ['cancelled']);
  await conflict(left);

  await using short = await open({ timeoutMs: 300 });
  const late = short.call({ to: 'bob', cents: 500 });
  const { id: expired } = await short.pending();
  assert.equal(await late, 'tool_denied');
  assert.equal((await short.approvals.get(short.tenant, expired)).state, 'expired');
  await assert.rejects(short.approvals.answer(short.tenant, expired, yes), {
    code: 'state_conflict',
    details: { state: 'expired' },
  });

  // A server that dies says nothing: its lease is over, and so is what it waited for.
  const lease = await takeLease(kept.database, 'host:dies', 'dies');
  await using dying = await open({ store: new Store(kept.database, lease) });
  const stop = new AbortController();
  const lost = dying.call({ to: 'bob', cents: 500 }, stop.signal);
  const { id: orphan } = await dying.pending();
  await endLease(kept.database, lease);
  await assert.rejects(bench.approvals.answer(dying.tenant, orphan, yes), { details: { state: 'cancelled' } });
  assert.equal(await lost, 'cancelled', 'had it lived on, it would not act either');
  assert.deepEqual([...bench.sent, ...short.sent, ...dying.sent], []);
});

test('a session has so many calls that wait and no more; a tenant’s are its own', async () => {
  await using bench = await open();
  const stop = new AbortController();
  const calls = Array.from({ length: limits.approvalsPerSessionMaxCount }, () =>
    bench.call({ to: 'bob', cents: 500 }, stop.signal),
  );
  const pending = async (): Promise<number> =>
    (await bench.approvals.list(bench.tenant, { state: 'pending' })).items.length;
  await until(async () => (await pending()) === calls.length, 'all of them wait');
  assert.equal(await bench.call({ to: 'bob', cents: 500 }), 'limit_exceeded');
  const [tooMany] = (await bench.decisions.list(bench.tenant, {}, { limit: 1 })).items;
  assert.deepEqual([tooMany?.outcome, tooMany?.error], ['ask', 'limit_exceeded']);
  assert.equal(await bench.call({ to: 'bob', cents: 5 }), 'ok', 'what needs no person goes on');
  await using other = await open();
  const { id } = await bench.pending();
  assert.deepEqual((await other.approvals.list(other.tenant)).items, []);
  await assert.rejects(other.approvals.answer(other.tenant, id, yes), { code: 'not_found' });
  const page = await bench.approvals.list(bench.tenant, {}, { limit: 5 });
  const rest = await bench.approvals.list(bench.tenant, {}, { limit: 5, cursor: page.nextCursor ?? '' });
  assert.equal(new Set([...page.items, ...rest.items].map((item) => item.id)).size, calls.length);
  stop.abort();
  assert.ok((await Promise.all(calls)).every((code) => code === 'cancelled'));
  assert.equal(await pending(), 0);
});
