import type { CommandContext, CommandInput } from '../command.ts';
import { ownTenant } from '../own-tenant.ts';
import { type Verb, type VerbCall, runVerb } from '../verbs.ts';

const change =
  (disabled: boolean) =>
  async (call: VerbCall): Promise<unknown> =>
    (await call.backend.authority.setSubjectDisabled(await ownTenant(call), call.args[0] ?? '', disabled))
      .disabledSubjects;

const verbs: Readonly<Record<string, Verb>> = {
  list: {
    takes: [0, 0],
    wants: 'nothing more',
    act: async (call) => (await call.backend.authority.get(await ownTenant(call))).disabledSubjects,
    show: lines,
  },
  disable: { takes: [1, 1], wants: 'a subject', act: change(true), show: lines },
  enable: { takes: [1, 1], wants: 'a subject', act: change(false), show: lines },
};

export async function subject(context: CommandContext, input: CommandInput): Promise<number> {
  return await runVerb({ name: 'subject', verbs }, context, input);
}

function lines(answer: unknown): unknown {
  const disabled = answer as readonly string[]; // oxlint-disable-line typescript/no-unsafe-type-assertion -- what `act` answers
  return disabled.map((name) => ({ subject: name, state: 'disabled' }));
}
