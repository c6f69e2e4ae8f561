import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BulkheadError, makeId } from '@bulkhead/protocol';
import type { Arguments } from '../../src/authority/arguments.ts';
import { authorityLimits } from '../../src/authority/authority-limits.ts';
import { writeCedarSchema } from '../../src/authority/cedar-schema.ts';
import { type SessionFacts, decide } from '../../src/authority/decision-point.ts';
import { checkGrant, isGranted, narrowGrant, noGrant } from '../../src/authority/grant.ts';
import { PolicyEngine } from '../../src/authority/policy-engine.ts';
import { type PolicySet, checkPolicies, readPolicySet } from '../../src/authority/policy-set.ts';
import type { Resource, ToolDescription } from '../../src/authority/tool-description.ts';

const prices: ToolDescription = {
  name: 'prices',
  description: 'prices in an object store',
  operations: {
    get: {
      description: 'reads an object',
      resource: 'Object',
      parameters: {
        key: { kind: 'path', description: 'which' },
        rows: { kind: 'integer', description: 'how many', optional: true },
      },
    },
    put: { description: 'writes', resource: 'Object', parameters: { key: { kind: 'path', description: 'which' } } },
  },
};
const schema = writeCedarSchema([prices]);
const engine = new PolicyEngine();

const session: SessionFacts = {
  id: makeId('session'),
  tenant: makeId('tenant'),
  tenantName: 'acme',
  subject: 'agent',
  labels: { team: 'risk' },
  region: 'eu-west-1',
  tier: 'vm-kvm',
  runtime: 'qemu',
  ageSeconds: 60,
  turnCount: 3,
  isFork: false,
  grant: checkGrant(['prices.*']),
};

function resourceOf({ value }: Arguments): Resource {
  const { key } = value;
  assert.ok(typeof key === 'string');
  const [prefix = ''] = key.split('/');
  const within = [
    { type: 'Prefix', id: `prices/${prefix}/` },
    { type: 'Bucket', id: 'prices' },
  ] as const;
  return { type: 'Object', id: `prices/${key}`, within };
}

function ask(policies: PolicySet, operation: 'get' | 'put', given: unknown, facts: Partial<SessionFacts> = {}) {
  const description = prices.operations[operation];
  assert.ok(description);
  const argumentBytes = Buffer.from(JSON.stringify(given));
  const call = { tool: 'prices', operation, description, argumentBytes, resourceOf };
  return decide(engine, policies, { ...session, ...facts }, call).decision;
}

const own = `
@id("own-prefix")
permit(principal, action == Bulkhead::Action::"prices.get", resource in Bulkhead::Prefix::"prices/acme/");
`;

test('nothing is allowed but what a policy permits, and the decision names it', () => {
  const policies = readPolicySet(own, schema);
  const allowed = ask(policies, 'get', { key: 'acme/x.csv' });
  assert.equal(allowed.outcome, 'allow');
  assert.deepEqual(allowed.policies, ['own-prefix']);
  assert.match(allowed.argumentsDigest, /^[0-9a-f]{64}$/);
  assert.equal(allowed.policySet.version, policies.version);
  for (const [operation, key] of [
    ['get', 'globex/x.csv'],
    ['get', 'acme-2/x.csv'],
    ['put', 'acme/x.csv'],
  ] as const) {
    const denied = ask(policies, operation, { key });
    assert.deepEqual([denied.outcome, denied.reason, denied.policies], ['deny', 'no_policy', []], key);
  }
  assert.equal(ask(readPolicySet('', schema), 'get', { key: 'acme/x.csv' }).outcome, 'deny');
});

test('what forbids wins, and what cannot be evaluated denies', () => {
  const forbids = readPolicySet(
    `${own} @id("late") forbid(principal, action, resource) when { principal.ageSeconds > 3600 };`,
    schema,
  );
  assert.equal(ask(forbids, 'get', { key: 'acme/x' }).outcome, 'allow');
  const late = ask(forbids, 'get', { key: 'acme/x' }, { ageSeconds: 7200 });
  assert.deepEqual([late.outcome, late.reason, late.policies], ['deny', 'policy', ['late']]);

  // Overflow is an error of evaluation: Cedar by itself would go on without the policy that forbids.
  const overflows = readPolicySet(
    `${own} @id("broken") forbid(principal, action, resource) when { principal.ageSeconds * 9223372036854775807 > 1 };`,
    schema,
  );
  const broken = ask(overflows, 'get', { key: 'acme/x' });
  assert.deepEqual([broken.outcome, broken.reason, broken.policies], ['deny', 'policy_error', ['broken']]);
});

test('labels, arguments and forks are there for policies; a grant is asked first', () => {
  const policies = readPolicySet(
    `permit(principal, action, resource) when { principal.hasTag("team") && principal.getTag("team") == "risk" && !principal.isFork };
     forbid(principal, action == Bulkhead::Action::"prices.get", resource) when { context has rows && context.rows > 100 };`,
    schema,
  );
  assert.equal(ask(policies, 'get', { key: 'a/x', rows: 100 }).outcome, 'allow');
  assert.equal(ask(policies, 'get', { key: 'a/x', rows: 101 }).outcome, 'deny');
  assert.equal(ask(policies, 'get', { key: 'a/x' }, { labels: {} }).outcome, 'deny');
  assert.equal(ask(policies, 'get', { key: 'a/x' }, { isFork: true }).outcome, 'deny');
  const ungranted = ask(policies, 'get', { key: 'a/x' }, { grant: noGrant });
  assert.deepEqual([ungranted.outcome, ungranted.reason], ['deny', 'grant']);
});

test('a policy can ask for a person, and another one can do without', () => {
  const asks = `@id("four-eyes") @approval("required") permit(principal, action == Bulkhead::Action::"prices.put", resource);`;
  assert.equal(ask(readPolicySet(asks, schema), 'put', { key: 'a/x' }).outcome, 'ask');
  const also = readPolicySet(`${asks} permit(principal, action, resource in Bulkhead::Prefix::"prices/a/");`, schema);
  assert.equal(ask(also, 'put', { key: 'a/x' }).outcome, 'allow');
  assert.equal(ask(also, 'put', { key: 'b/x' }).outcome, 'ask');
});

test('policies that could not do what they say are refused, with the place', () => {
  const wrong: readonly (readonly [string, RegExp])[] = [
    ['permit(principal, action, resource)', /unexpected end|parse/],
    [`${own}\npermit(principal, action == Bulkhead::Action::"prices.zip", resource);`, /unrecognized action/],
    [`permit(principal, action == Bulkhead::Action::"prices.put", resource) when { context.rows > 1 };`, /rows/],
    ['permit(principal, action, resource) when { principal.agee > 1 };', /agee/],
    [`${own}${own}`, /Two policies/],
    ['@approval("maybe") permit(principal, action, resource);', /approval/],
    ['@approval("required") forbid(principal, action, resource);', /approval/],
    ['@id("a b") permit(principal, action, resource);', /id of a policy/],
    ['permit(principal == ?principal, action, resource);', /Templates/],
    [`// ${'x'.repeat(authorityLimits.policyTextMaxBytes)}`, /at most/],
  ];
  for (const [text, message] of wrong) {
    const { problems } = checkPolicies(text, schema);
    assert.match(problems.map((problem) => problem.message).join('\n'), message, text.slice(0, 200));
    assert.throws(
      () => readPolicySet(text, schema),
      (error) => BulkheadError.is(error, 'invalid_request'),
    );
  }
  const second = checkPolicies(
    `${own}\n\n@id("typo") permit(principal, action == Bulkhead::Action::"prices.gett", resource);`,
    schema,
  );
  assert.deepEqual(
    second.problems.map(({ policy, line }) => [policy, line]),
    [['typo', 6]],
  );
});

test('as many versions as there are: each is asked as itself', () => {
  for (let round = 0; round < 2; round++) {
    for (let index = 0; index < authorityLimits.policySetsMaxCount + 5; index++) {
      const policies = readPolicySet(
        `@id("only") permit(principal, action, resource in Bulkhead::Prefix::"prices/p${index}/");`,
        schema,
      );
      assert.equal(ask(policies, 'get', { key: `p${index}/x` }).outcome, 'allow');
      assert.equal(ask(policies, 'get', { key: `p${index + 1}/x` }).outcome, 'deny');
    }
  }
});

test('a fork gets its parent’s grant or less', () => {
  const parent = checkGrant(['prices.*', 'positions.read']);
  assert.deepEqual(narrowGrant(parent, undefined), parent);
  assert.deepEqual(narrowGrant(parent, ['prices.get']).operations, ['prices.get']);
  for (const asked of [['positions.*'], ['positions.write'], ['other.get'], ['*.*'], ['prices']]) {
    assert.throws(() => narrowGrant(parent, asked), BulkheadError, asked.join());
  }
  assert.equal(isGranted(parent, 'positions', 'write'), false);
  assert.equal(isGranted(parent, 'prices', 'anything'), true);
  assert.equal(isGranted(noGrant, 'prices', 'get'), false);
});

test('a policy counts for what its scope is about, however that is written, and for nothing else', () => {
  const get = 'Bulkhead::Action::"prices.get"';
  const put = 'Bulkhead::Action::"prices.put"';
  const forbids = (scope: string): PolicySet =>
    readPolicySet(
      `@id("any") permit(principal, action, resource); @id("no") forbid(principal, ${scope}, resource);`,
      schema,
    );
  for (const [scope, forbidden] of [
    ['action', ['get', 'put']],
    [`action == ${get}`, ['get']],
    [`action in ${put}`, ['put']],
    [`action in [${get}, ${put}]`, ['get', 'put']],
    [`action in [${put}]`, ['put']],
  ] as const) {
    const policies = forbids(scope);
    for (const operation of ['get', 'put'] as const) {
      const { outcome, policies: determining } = ask(policies, operation, { key: 'a' });
      const expected = (forbidden as readonly string[]).includes(operation) ? ['deny', ['no']] : ['allow', ['any']];
      assert.deepEqual([outcome, determining], expected, `${scope}, ${operation}`);
    }
  }
});
