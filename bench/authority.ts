// `bulkhead bench authority`: what a decision costs with 1, 100 and 1,000 policies, and what it adds to a call of a tool that does nothing: the policies
// alone, the durable record alone, and both.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeId } from '@bulkhead/protocol';
import { localTenant, openBulkhead, systemClock } from '@bulkhead/server';
import { writeCedarSchema } from '../packages/server/src/authority/cedar-schema.ts';
import { type SessionFacts, decide } from '../packages/server/src/authority/decision-point.ts';
import { type PolicyAnswer, PolicyEngine } from '../packages/server/src/authority/policy-engine.ts';
import { type PolicySet, readPolicySet } from '../packages/server/src/authority/policy-set.ts';
import type { OperationDescription, ToolDescription } from '../packages/server/src/authority/tool-description.ts';
import { FakeRuntime } from '../packages/server/src/runtimes/fake/fake-runtime.ts';
import { Sessions } from '../packages/server/src/sessions/sessions.ts';
import { StoredDecisions } from '../packages/server/src/sessions/stored-decisions.ts';
import { type DecisionLog, ToolCalls } from '../packages/server/src/sessions/tool-calls.ts';
import type { Tool } from '../packages/server/src/tools/tool.ts';
import { type BenchmarkOptions, type BenchmarkReport, compare, measuredOn, summarize } from './report.ts';

const operation: OperationDescription = {
  description: 'the price of a symbol',
  resource: 'Query',
  parameters: {
    symbol: { kind: 'name', description: 'which' },
    rows: { kind: 'integer', description: 'how many' },
  },
};
const operations = Object.fromEntries(
  Array.from({ length: 100 }, (_, index) => [index === 0 ? 'get' : `get${index}`, operation]),
);
const description: ToolDescription = { name: 'prices', description: 'prices', operations };
const resource = { type: 'Query', id: 'prices.get', within: [{ type: 'Database', id: 'market' }] } as const;
const given = Buffer.from('{"symbol":"S0","rows":10}');
/** Until compilers have done their work. */
const warmUps = 300;
const policyCounts = [1, 100, 1000] as const;

export async function run(options: BenchmarkOptions): Promise<BenchmarkReport> {
  const { n, onProgress, signal } = options;
  const decisions = new Map<number, number[]>();
  for (const count of policyCounts) {
    onProgress(`${n} decisions with ${count} policies`);
    signal?.throwIfAborted();
    decisions.set(count, timeDecisions(n, policiesOf(count)));
  }
  onProgress(`${n} decisions with 1,000 policies about 100 operations`);
  const spread = timeDecisions(n, policiesOf(1000, 100));
  onProgress(`${n} calls of a tool, in each of four ways`);
  const calls = await timeCalls(options);
  const decision = summarize(decisions.get(100) ?? []);
  const whole = summarize(calls.both);
  const decided = 'from the bytes of the arguments to the decision';
  const called = 'from the call to its answer, a tool that does nothing';
  return {
    benchmark: 'authority',
    unit: 'ms',
    clock: `${decided}, 100 policies, all about the operation: arguments read, put in canonical form and hashed, policies asked`,
    ...decision,
    ...measuredOn(options),
    also: {
      with1Policy: beside(decisions.get(1) ?? [], `${decided}, 1 policy`),
      with1000Policies: beside(decisions.get(1000) ?? [], `${decided}, 1,000 policies`),
      with1000PoliciesOf100Operations: beside(spread, `${decided}, 1,000 policies, 10 of them about the operation`),
      call: { ...whole, unit: 'ms', clock: `${called}; 100 policies, its record durable before and after` },
      callNoRecord: beside(calls.policies, `${called}; 100 policies, no record`),
      callNoPolicies: beside(calls.record, `${called}; no policies, its record durable before and after`),
      callNeither: beside(calls.neither, `${called}; no policies, no record`),
    },
    baselines: { 'the same call, neither policies nor record, to the whole call': compare(whole, calls.neither) },
  };
}

function beside(values: readonly number[], clock: string): BenchmarkReport['also'][string] {
  return { ...summarize(values), unit: 'ms', clock };
}

/** About so many operations in turn, one in ten forbids; each looks at the session and at the arguments, and one of them applies. */
function policiesOf(count: number, operationCount = 1): PolicySet {
  const text = Array.from({ length: count }, (_, index) => {
    const effect = index % 10 === 9 ? 'forbid' : 'permit';
    const about = index % operationCount === 0 ? 'get' : `get${index % operationCount}`;
    const applies = `context.symbol == "S${index}" && context.rows < 1000`;
    return `@id("p${index}") ${effect}(principal, action == Bulkhead::Action::"prices.${about}", resource in Bulkhead::Database::"market")
      when { ${applies} && principal.ageSeconds < 3600 && principal.hasTag("desk") && principal.getTag("desk") == "rates" };`;
  }).join('\n');
  return readPolicySet(text, writeCedarSchema([description]));
}

function timeDecisions(n: number, policies: PolicySet): number[] {
  const engine = new PolicyEngine();
  const facts: SessionFacts = {
    id: makeId('session'),
    tenant: localTenant,
    tenantName: 'local',
    subject: 'agent',
    labels: { desk: 'rates' },
    region: 'local',
    tier: 'vm-kvm',
    runtime: 'qemu',
    ageSeconds: 60,
    turnCount: 3,
    isFork: false,
    grant: { operations: ['prices.*'] },
  };
  const call = {
    tool: 'prices',
    operation: 'get',
    description: operation,
    argumentBytes: given,
    resourceOf: () => resource,
  };
  const times: number[] = [];
  for (let index = 0; index < n + warmUps; index += 1) {
    const startedMs = performance.now();
    const { decision } = decide(engine, policies, facts, call);
    const tookMs = performance.now() - startedMs;
    if (decision.outcome !== 'allow') throw new TypeError(`expected allow, got ${decision.outcome}`);
    if (index >= warmUps) times.push(tookMs);
  }
  return times;
}

class NoPolicies extends PolicyEngine {
  override decide(): PolicyAnswer {
    return { outcome: 'allow', reason: 'policy', policies: [] };
  }
}
const nothing = async (): Promise<void> => undefined;
const noRecord: DecisionLog = { begin: nothing, refuse: nothing, end: nothing };

type Way = 'both' | 'policies' | 'record' | 'neither';

async function timeCalls({ n, bulkhead, signal }: BenchmarkOptions): Promise<Readonly<Record<Way, readonly number[]>>> {
  const stateDir = await mkdtemp(join(tmpdir(), 'bulkhead-bench-'));
  const own = { stateDir, keyFile: join(stateDir, 'key'), turnKeysDir: join(stateDir, 'turn-keys') };
  try {
    await using kept = await openBulkhead({ ...bulkhead.config, ...own, databaseUrl: undefined }, { keep: true });
    const { keeping } = kept;
    if (keeping === undefined) throw new TypeError('opened without what is kept');
    const { store, turnKeys } = keeping;
    await using opened = new AsyncDisposableStack();
    const policies = policiesOf(100);
    const tool: Tool = {
      description,
      resourceOf: () => resource,
      call: async () => ({ kind: 'value', value: null }),
      [Symbol.asyncDispose]: nothing,
    };
    const set = { tenantName: 'local', tools: new Map([['prices', tool]]), policies };
    const open = async (withPolicies: boolean, withRecord: boolean): Promise<() => Promise<number>> => {
      const engine = withPolicies ? new PolicyEngine() : new NoPolicies();
      const record = new StoredDecisions({ store: store.decisions, keys: turnKeys, clock: systemClock, engine });
      const tools = new ToolCalls({
        engine,
        // What a tenant has set up is looked at before every call.
        source: { of: async (tenant) => (withPolicies ? (await store.authority.version(tenant), set) : set) },
        log: withRecord ? record : noRecord,
        clock: systemClock,
        region: 'local',
      });
      const runtime = new FakeRuntime({ clock: systemClock });
      const sessions = opened.adopt(new Sessions({ runtimes: [runtime], tools }), (each) => each.close());
      await sessions.createSession({ tenant: localTenant, labels: { desk: 'rates' }, grant: ['prices.*'] });
      const guest = [...runtime.machines.values()].at(-1)?.guest;
      return async () => {
        const startedMs = performance.now();
        const answer = await guest?.call?.('prices', 'get', given.toString());
        const tookMs = performance.now() - startedMs;
        if (answer?.ok !== true) throw new TypeError('the call was not answered');
        return tookMs;
      };
    };
    const ways: Readonly<Record<Way, () => Promise<number>>> = {
      both: await open(true, true),
      policies: await open(true, false),
      record: await open(false, true),
      neither: await open(false, false),
    };
    const times: Record<Way, number[]> = { both: [], policies: [], record: [], neither: [] };
    // Turn about, so that all see the same minutes of the host.
    for (let index = 0; index < n + warmUps; index += 1) {
      signal?.throwIfAborted();
      for (const way of ['both', 'policies', 'record', 'neither'] as const) {
        const tookMs = await ways[way]();
        if (index >= warmUps) times[way].push(tookMs);
      }
    }
    return times;
  } finally {
    await rm(stateDir, { recursive: true });
  }
}
