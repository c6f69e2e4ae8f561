// Policies without a server: checked and tried with the code that decides, against tools that are only described. Nothing is opened, nothing is asked.

import {
  BulkheadError,
  type ToolSettings,
  errorEntry,
  labelsSchema,
  makeId,
  runtimeNames,
  tiers,
  toolSettingsSchema,
} from '@bulkhead/protocol';
import { z } from 'zod';
import type { Arguments } from './authority/arguments.ts';
import { writeCedarSchema } from './authority/cedar-schema.ts';
import { type SessionFacts, decide } from './authority/decision-point.ts';
import { checkGrant } from './authority/grant.ts';
import { PolicyEngine } from './authority/policy-engine.ts';
import { type PolicySetCheck, checkPolicies, readPolicySet } from './authority/policy-set.ts';
import { type Resource, resourceTypes } from './authority/tool-description.ts';
import { type Given, given } from './lib/given.ts';
import { describeTool, resourceOfCall } from './tools/tool-kinds.ts';

export interface NamedTool {
  readonly name: string;
  readonly settings: ToolSettings;
}

export interface OfflinePolicies {
  /** As `bulkhead tool list --json` prints them. Errors: `invalid_request`. */
  readTools(value: unknown): readonly NamedTool[];
  /** Every problem of policies against these tools. */
  check(policies: string, tools: readonly NamedTool[]): PolicySetCheck;
  /** Errors: `invalid_request` with every problem. */
  readTests(value: unknown): PolicyTests;
  /** Errors: `invalid_request` for policies that are not valid, and for a case whose operation is not there or whose resource is not known. */
  run(policies: string, tools: readonly NamedTool[], tests: PolicyTests): readonly PolicyTestResult[];
}

const toolList = z.array(z.object({ name: z.string().regex(/^[a-z][a-z0-9_]{0,62}$/), settings: toolSettingsSchema }));

function readToolList(value: unknown): readonly NamedTool[] {
  return parse(toolList, value, 'The list of tools');
}

function checkOffline(policies: string, tools: readonly NamedTool[]): PolicySetCheck {
  return checkPolicies(policies, schemaOf(tools));
}

const sessionFacts = z.strictObject({
  tenantName: z.string(),
  subject: z.string(),
  labels: labelsSchema,
  region: z.string(),
  tier: z.enum(tiers),
  runtime: z.enum(runtimeNames),
  ageSeconds: z.int().min(0),
  turnCount: z.int().min(0),
  isFork: z.boolean(),
  grant: z.array(z.string()),
  subjectDisabled: z.boolean(),
});
const within = z.object({ type: z.enum(['Prefix', 'Bucket', 'Database', 'Host']), id: z.string() });
const outcomes = ['allow', 'deny', 'ask', 'invalid'] as const;
const testCase = z.strictObject({
  name: z.string().min(1),
  session: sessionFacts.partial().default({}),
  call: z.string().regex(/^[a-z][a-z0-9_]{0,62}\.[a-z][a-z0-9_]{0,62}$/, { message: 'expected tool.operation' }),
  /** As text, exactly what a guest would send. */
  arguments: z.union([z.record(z.string(), z.unknown()), z.string()]).default({}),
  resource: z
    .strictObject({ type: z.enum(resourceTypes), id: z.string(), within: z.array(within).default([]) })
    .optional(),
  /** `invalid`: the arguments are refused before any policy is asked. */
  expect: z.enum(outcomes),
  policies: z.array(z.string()).optional(),
});
const testFile = z.strictObject({
  session: sessionFacts.partial().default({}),
  cases: z.array(testCase).min(1).max(10_000),
});
export type PolicyTests = z.output<typeof testFile>;

export interface PolicyTestResult {
  readonly name: string;
  readonly passed: boolean;
  readonly expected: string;
  readonly outcome: (typeof outcomes)[number];
  readonly reason: string;
  readonly policies: readonly string[];
  /** What was expected of them, where it was. */
  readonly expectedPolicies: readonly string[] | null;
}

function readPolicyTests(value: unknown): PolicyTests {
  return parse(testFile, value, 'The tests');
}

function runPolicyTests(
  policies: string,
  tools: readonly NamedTool[],
  { session, cases }: PolicyTests,
): readonly PolicyTestResult[] {
  const set = readPolicySet(policies, schemaOf(tools));
  const engine = new PolicyEngine();
  return cases.map((each) => {
    const expected = each.policies === undefined ? null : each.policies.toSorted();
    const answer = decideCase(each);
    const asExpected = expected === null || expected.join('\n') === answer.policies.toSorted().join('\n');
    const passed = answer.outcome === each.expect && asExpected;
    return { name: each.name, passed, expected: each.expect, expectedPolicies: expected, ...answer };
  });

  function decideCase(each: PolicyTests['cases'][number]): Pick<PolicyTestResult, 'outcome' | 'reason' | 'policies'> {
    const [tool = '', operation = ''] = each.call.split('.');
    const named = tools.find(({ name }) => name === tool);
    const description = named === undefined ? undefined : describeTool(tool, named.settings).operations[operation];
    if (named === undefined || description === undefined)
      throw wrongCase(each.name, `There is no operation ${each.call}.`);
    const facts = factsOf(given({ grant: [each.call], ...session, ...each.session }));
    const text = typeof each.arguments === 'string' ? each.arguments : JSON.stringify(each.arguments);
    const resourceOf = (checked: Arguments): Resource =>
      each.resource ?? resourceOfCall(tool, named.settings, operation, checked);
    const call = { tool, operation, description, argumentBytes: Buffer.from(text), resourceOf };
    try {
      const { outcome, reason, policies: determining } = decide(engine, set, facts, call).decision;
      return { outcome, reason, policies: determining };
    } catch (error) {
      if (!BulkheadError.is(error) || errorEntry(error.code).status >= 500) throw error;
      return { outcome: 'invalid', reason: error.message, policies: [] };
    }
  }
}

export const offlinePolicies: OfflinePolicies = {
  readTools: readToolList,
  check: checkOffline,
  readTests: readPolicyTests,
  run: runPolicyTests,
};

function factsOf({ grant, ...stated }: Given<z.output<typeof sessionFacts>>): SessionFacts {
  return {
    id: makeId('session'),
    tenant: makeId('tenant'),
    tenantName: 'acme',
    subject: 'agent',
    labels: {},
    region: 'local',
    tier: 'vm-kvm',
    runtime: 'qemu',
    ageSeconds: 0,
    turnCount: 0,
    isFork: false,
    ...stated,
    grant: checkGrant(grant ?? []),
  };
}

function schemaOf(tools: readonly NamedTool[]): string {
  return writeCedarSchema(tools.map(({ name, settings }) => describeTool(name, settings)));
}

function wrongCase(name: string, message: string): BulkheadError {
  return new BulkheadError('invalid_request', `The test ${JSON.stringify(name)} cannot be run. ${message}`);
}

function parse<Schema extends z.ZodType>(schema: Schema, value: unknown, what: string): z.output<Schema> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`);
  throw new BulkheadError('invalid_request', `${what} cannot be understood:\n${problems.slice(0, 20).join('\n')}`, {
    details: { problems },
  });
}
