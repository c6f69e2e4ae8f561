import {
  type AuthorityResource,
  BulkheadError,
  type DecisionChangesPage,
  type DecisionExplanation,
  type PolicyCheck,
} from '@bulkhead/protocol';
import { type NamedTool, type PolicyTestResult, loadOfflinePolicies } from '@bulkhead/server';
import type { Recorded } from '../authority-access.ts';
import type { CommandContext, CommandInput } from '../command.ts';
import { ownTenant } from '../own-tenant.ts';
import { parseCount, parseIdOf } from '../parse-values.ts';
import { readJsonFile, readTextFile } from '../read-text-file.ts';
import { lastOf, recordedOf } from '../recorded-options.ts';
import { formatRecord, formatTable } from '../table.ts';
import { type Verb, printAnswer, runVerb } from '../verbs.ts';

const lastUsually = 1000;
const pageMaxCount = 200;
const aFile = 'a file with policies';

const check: Verb = {
  takes: [1, 1],
  wants: aFile,
  act: async (call) => {
    const policies = await readTextFile(call.context, call.args[0] ?? '');
    return await call.backend.authority.checkPolicies(await ownTenant(call), policies);
  },
  show: (answer) => {
    const { problems, warnings, policies } = answer as PolicyCheck; // oxlint-disable-line typescript/no-unsafe-type-assertion -- what `act` answers
    const told = [...problems.map(rowOf('error')), ...warnings.map(rowOf('warning'))];
    return told.length === 0 ? `${policies.length} policies, no problem\n` : told;
  },
  exitCode: (answer) => ((answer as PolicyCheck).problems.length === 0 ? 0 : 2), // oxlint-disable-line typescript/no-unsafe-type-assertion -- what `act` answers
};

const test: Verb = {
  takes: [1, 1],
  wants: 'a file with tests in JSON',
  act: async (call) => {
    const { tools, policies } = await call.backend.authority.get(await ownTenant(call));
    return await runTests(call.context, call.input, call.args[0] ?? '', tools, policies);
  },
  show: (answer) => {
    const results = answer as readonly PolicyTestResult[]; // oxlint-disable-line typescript/no-unsafe-type-assertion -- what `act` answers
    const failed = results.filter(({ passed }) => !passed).length;
    const rows = results.map(({ passed, name, expected, outcome, reason, policies, expectedPolicies }) => ({
      result: passed ? 'ok' : 'FAILED',
      name,
      expected: [expected, ...(expectedPolicies ?? [])].join(' '),
      outcome: [outcome, ...policies].join(' '),
      reason,
    }));
    return `${formatTable(rows)}\n${results.length - failed} passed, ${failed} failed\n`;
  },
  exitCode: (answer) => ((answer as readonly PolicyTestResult[]).every(({ passed }) => passed) ? 0 : 1), // oxlint-disable-line typescript/no-unsafe-type-assertion -- what `act` answers
};

const verbs: Readonly<Record<string, Verb>> = {
  check,
  test,
  explain: {
    takes: [1, 1],
    wants: 'the id of a decision',
    check: ([id]) => void parseIdOf('decision', id),
    act: async ({ backend, args }) => await backend.authority.explainDecision(parseIdOf('decision', args[0])),
    show: explained,
  },
  diff: {
    takes: [1, 1],
    wants: aFile,
    act: async (call) => {
      const policies = await readTextFile(call.context, call.args[0] ?? '');
      const tenant = await ownTenant(call);
      return await everyPage(call.input, (recorded) => call.backend.authority.diffPolicies(tenant, policies, recorded));
    },
    show: (answer) => changes(answer, 'would come out differently'),
  },
  replay: {
    takes: [0, 0],
    wants: 'nothing more',
    act: async (call) => {
      const tenant = await ownTenant(call);
      return await everyPage(call.input, (recorded) => call.backend.authority.replayDecisions(tenant, recorded));
    },
    show: (answer) => changes(answer, 'came out differently'),
    exitCode: (answer) => ((answer as Changes).items.length === 0 ? 0 : 1), // oxlint-disable-line typescript/no-unsafe-type-assertion -- what `act` answers
  },
  get: {
    takes: [0, 0],
    wants: 'nothing more',
    act: async (call) => {
      const { version, policies } = await call.backend.authority.get(await ownTenant(call));
      return { version, policies };
    },
    show: (answer) => {
      const { policies } = answer as Pick<AuthorityResource, 'policies'>; // oxlint-disable-line typescript/no-unsafe-type-assertion -- what `act` answers
      return policies === '' || policies.endsWith('\n') ? policies : `${policies}\n`;
    },
  },
  set: {
    takes: [1, 1],
    wants: aFile,
    act: async (call) => {
      const policies = await readTextFile(call.context, call.args[0] ?? '');
      const { version } = await call.backend.authority.setPolicies(
        await ownTenant(call),
        policies,
        ifVersionOf(call.input),
      );
      return { version };
    },
  },
};

export async function policy(context: CommandContext, input: CommandInput): Promise<number> {
  recordedOf(input);
  lastOf(input, lastUsually);
  ifVersionOf(input);
  const [verb, file, ...more] = input.positionals;
  const tools = input.text('tools');
  // With the tools at hand, nobody has to be asked.
  if (tools === undefined || file === undefined || more.length > 0 || (verb !== 'check' && verb !== 'test')) {
    return await runVerb({ name: 'policy', verbs }, context, input);
  }
  const offline = await loadOfflinePolicies();
  const known = offline.readTools(await readJsonFile(context, tools));
  if (verb === 'check') {
    const policies = await readTextFile(context, file);
    return await printAnswer(check, context, input, offline.check(policies, known));
  }
  return await printAnswer(test, context, input, await runTests(context, input, file, known, undefined));
}

/** Of the policies of `--policies`, or of those that are set. Errors: `invalid_request`. */
async function runTests(
  context: CommandContext,
  input: CommandInput,
  file: string,
  tools: readonly NamedTool[],
  set: string | undefined,
): Promise<readonly PolicyTestResult[]> {
  const named = input.text('policies');
  const policies = named === undefined ? set : await readTextFile(context, named);
  if (policies === undefined) {
    throw new BulkheadError('invalid_request', 'Which policies are tested?', {
      hint: 'Say --policies FILE beside --tools.',
    });
  }
  const offline = await loadOfflinePolicies();
  return offline.run(policies, tools, offline.readTests(await readJsonFile(context, file)));
}

const rowOf =
  (severity: string) =>
  ({ line, policy: name, message, hint }: PolicyCheck['problems'][number]): object => ({
    severity,
    line: line ?? '',
    policy: name ?? '',
    message,
    hint: hint ?? '',
  });

type Changes = Omit<DecisionChangesPage, 'nextCursor'>;

async function everyPage(
  input: CommandInput,
  ask: (recorded: Recorded) => Promise<DecisionChangesPage>,
): Promise<Changes> {
  const items: DecisionChangesPage['items'] = [];
  let [compared, notAsked, unreadable] = [0, 0, 0];
  let left = lastOf(input, lastUsually);
  let cursor: string | null = null;
  do {
    const limit = Math.min(left, pageMaxCount);
    const page: DecisionChangesPage = await ask({
      ...recordedOf(input),
      limit,
      ...(cursor === null ? {} : { cursor }),
    });
    items.push(...page.items);
    compared += page.compared;
    notAsked += page.notAsked;
    unreadable += page.unreadable;
    left -= limit;
    cursor = page.nextCursor;
  } while (cursor !== null && left > 0);
  return { compared, notAsked, unreadable, items };
}

function changes(answer: unknown, what: string): string {
  const { compared, notAsked, unreadable, items } = answer as Changes; // oxlint-disable-line typescript/no-unsafe-type-assertion -- what `act` answers
  const told = ({ outcome, policies }: Changes['items'][number]['before']): string => [outcome, ...policies].join(' ');
  const rows = items.map(({ decision, session, action, before, after }) => ({
    decision,
    session,
    action,
    before: told(before),
    after: told(after),
  }));
  const beside = [
    ...(notAsked === 0 ? [] : [`${notAsked} that no policy was asked about`]),
    ...(unreadable === 0 ? [] : [`${unreadable} that cannot be read any more`]),
  ];
  const summary = `${items.length} of ${compared} decisions ${what}${beside.length === 0 ? '' : `; beside them ${beside.join(', ')}`}\n`;
  return rows.length === 0 ? summary : `${formatTable(rows)}\n${summary}`;
}

const reasons: Readonly<Record<string, string>> = {
  policy: 'policies determined it',
  no_policy: 'no policy permits it',
  policy_error: 'a policy could not be evaluated, which denies',
  grant: 'the session was not granted it',
  unknown: 'there is no such operation',
  subject: 'the subject is disabled',
};

function explained(answer: unknown): string {
  const { decision, policies, grant, asked } = answer as DecisionExplanation; // oxlint-disable-line typescript/no-unsafe-type-assertion -- what `act` answers
  const { id, action, outcome, reason, session, decidedAt, policyVersion, approval } = decision;
  const head = {
    decision: id,
    action,
    outcome,
    reason: `${reason}: ${reasons[reason] ?? ''}`,
    decidedAt,
    session,
    ...(approval === null ? {} : { approval }),
    ...(policyVersion === null ? {} : { policyVersion }),
    grant: grant?.join(' ') ?? 'not written down',
  };
  const saw =
    asked === null
      ? ''
      : `\nwhat they saw\n${formatRecord({
          subject: asked.session.subject,
          ...asked.session.facts,
          ...Object.fromEntries(Object.entries(asked.session.labels).map(([name, value]) => [`label ${name}`, value])),
          resource: [asked.resource, ...asked.resource.within].map(({ type, id: of }) => `${type} ${of}`).join(' in '),
          arguments: JSON.stringify(asked.context),
        })}`;
  return `${formatRecord(head)}${policies.map((each) => `\n${each.id}\n${each.text.trim()}\n`).join('')}${saw}`;
}

/** Errors: `invalid_request`. */
function ifVersionOf(input: CommandInput): number | undefined {
  const text = input.text('if-version');
  return text === undefined ? undefined : parseCount('if-version', text);
}
