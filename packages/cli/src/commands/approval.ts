import {
  type ApprovalDetail,
  type ApprovalResource,
  type ApprovalState,
  BulkheadError,
  approvalStates,
} from '@bulkhead/protocol';
import type { CommandContext, CommandInput } from '../command.ts';
import { parseIdOf, parseOneOf } from '../parse-values.ts';
import { lastOf, recordedOf } from '../recorded-options.ts';
import { asciiJson, visibleJson } from '../output.ts';
import { type Verb, type VerbCall, runVerb } from '../verbs.ts';

const lastUsually = 200;

const ofApproval = (act: Verb['act'], show: Verb['show']): Verb => ({
  takes: [1, 1],
  wants: 'the id of an approval',
  check: ([id]) => void parseIdOf('approval', id),
  act,
  ...(show === undefined ? {} : { show }),
});

const verbs: Readonly<Record<string, Verb>> = {
  list: {
    takes: [0, 0],
    wants: 'nothing more',
    act: async ({ backend, input }) => await backend.authority.listApprovals(filterOf(input)),
    show: (answer) => (answer as readonly ApprovalResource[]).map(line), // oxlint-disable-line typescript/no-unsafe-type-assertion -- what `act` answers
  },
  show: ofApproval(
    async ({ backend, args }) => await backend.authority.getApproval(parseIdOf('approval', args[0])),
    detail,
  ),
  approve: ofApproval((call) => answerOf(call, 'approved'), detail),
  refuse: ofApproval((call) => answerOf(call, 'refused'), detail),
};

export async function approval(context: CommandContext, input: CommandInput): Promise<number> {
  filterOf(input);
  if (input.positionals[0] === 'refuse' && input.text('reason') === undefined) {
    throw new BulkheadError('invalid_request', 'Who refuses says why.', { hint: 'Add --reason TEXT.' });
  }
  return await runVerb({ name: 'approval', verbs }, context, input);
}

async function answerOf({ backend, input, args }: VerbCall, state: 'approved' | 'refused'): Promise<unknown> {
  return await backend.authority.answerApproval(parseIdOf('approval', args[0]), state, input.text('reason'));
}

/** Those that wait, unless said. Errors: `invalid_request`. */
function filterOf(input: CommandInput): {
  readonly state?: ApprovalState;
  readonly session?: ReturnType<typeof recordedOf>['session'] & {};
  readonly maxCount: number;
} {
  const state = input.text('state') ?? 'pending';
  const { session } = recordedOf(input);
  return {
    ...(input.flag('all') ? {} : { state: parseOneOf('state', state, approvalStates) }),
    ...(session === undefined ? {} : { session }),
    maxCount: lastOf(input, lastUsually),
  };
}

function line({ id, state, expiresAt, subject, session, action, policies }: ApprovalResource): unknown {
  return { id, state, expiresAt, subject, session, action, policies: policies.join(' ') };
}

/** The arguments as JSON: a guest's words, shown to who decides on them. Where they are not ASCII, a second time so that look-alikes show. */
function detail(answered: unknown): unknown {
  const { policies, arguments: given, ...rest } = answered as ApprovalResource & Partial<ApprovalDetail>; // oxlint-disable-line typescript/no-unsafe-type-assertion -- what `act` answers
  const told = { ...rest, policies: policies.join(' ') };
  if (given === undefined) return told;
  const escaped = asciiJson(given);
  return { ...told, arguments: visibleJson(given), ...(escaped === given ? {} : { argumentsInAscii: escaped }) };
}
