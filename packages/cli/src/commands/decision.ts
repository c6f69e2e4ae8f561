import { type DecisionResource } from '@bulkhead/protocol';
import type { CommandContext, CommandInput } from '../command.ts';
import { parseIdOf, parseOneOf } from '../parse-values.ts';
import { lastOf, recordedOf } from '../recorded-options.ts';
import { type Verb, runVerb } from '../verbs.ts';

const outcomes = ['allow', 'deny', 'ask'] as const satisfies readonly DecisionResource['outcome'][];
const lastUsually = 50;

const verbs: Readonly<Record<string, Verb>> = {
  list: {
    takes: [0, 0],
    wants: 'nothing more',
    act: async ({ backend, input }) => await backend.authority.listDecisions(filterOf(input)),
    show: (answer) => (answer as readonly DecisionResource[]).map(line), // oxlint-disable-line typescript/no-unsafe-type-assertion -- what `act` answers
  },
  show: {
    takes: [1, 1],
    wants: 'the id of a decision',
    check: ([id]) => void parseIdOf('decision', id),
    act: async ({ backend, args }) => await backend.authority.getDecision(parseIdOf('decision', args[0])),
    show: (answer) => {
      const { policies, ...rest } = answer as DecisionResource; // oxlint-disable-line typescript/no-unsafe-type-assertion -- what `act` answers
      return { ...rest, policies: policies.join(' ') };
    },
  },
};

export async function decision(context: CommandContext, input: CommandInput): Promise<number> {
  filterOf(input);
  return await runVerb({ name: 'decision', verbs }, context, input);
}

/** Errors: `invalid_request`. */
function filterOf(input: CommandInput): ReturnType<typeof recordedOf> & {
  readonly outcome?: DecisionResource['outcome'];
  readonly maxCount: number;
} {
  const outcome = input.text('outcome');
  return {
    ...recordedOf(input),
    ...(outcome === undefined ? {} : { outcome: parseOneOf('outcome', outcome, outcomes) }),
    maxCount: lastOf(input, lastUsually),
  };
}

function line({ id, decidedAt, session, action, outcome, reason, policies, error }: DecisionResource): unknown {
  return { id, decidedAt, session, action, outcome, reason, policies: policies.join(' '), error: error ?? '' };
}
