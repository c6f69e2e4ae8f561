// What a tenant sets up for its sessions (tools, secrets, policies), and what was decided.

import { z } from 'zod';
import { idSchema } from '../ids.ts';
import { limits } from '../limits.ts';
import { labelsSchema, pageOf, pageQuery, timeSchema } from './common.ts';
import { identifier, secretName } from './tools/parts.ts';
import { toolSettingsSchema } from './tools/settings.ts';

export { secretName };

const tenant = { tenant: idSchema('tenant') };
const subject = z
  .string()
  .min(1)
  .max(limits.subjectMaxLength)
  .regex(/^[\x21-\x7e]+$/);
export const subjectParams = z.object({ ...tenant, subject });
export const toolParams = z.object({ ...tenant, tool: identifier });
export const secretParams = z.object({ ...tenant, secret: secretName });
export const putSecretBody = z
  .strictObject({ value: z.string().min(1).max(limits.secretMaxLength) })
  .meta({ id: 'PutSecret' });
const policyText = z
  .string()
  .max(limits.policyTextMaxLength)
  .meta({ description: 'Policies in Cedar; each is named by `@id`.' });
export const putPoliciesBody = z.strictObject({ policies: policyText }).meta({ id: 'PutPolicies' });

export const authoritySchema = z
  .object({
    version: z.int().meta({ description: 'One more with every change; the ETag.' }),
    policies: policyText,
    tools: z.array(z.object({ name: identifier, settings: toolSettingsSchema })),
    secrets: z.array(z.object({ name: secretName, changedAt: timeSchema })),
    disabledSubjects: z.array(z.string()).meta({ description: 'Whose credentials and sessions are refused.' }),
  })
  .meta({ id: 'Authority', description: 'What a tenant has set up for its sessions. Of secrets, the names.' });
export type AuthorityResource = z.output<typeof authoritySchema>;

const policyProblem = z.object({
  policy: z.string().nullable(),
  line: z.int().nullable(),
  message: z.string(),
  hint: z.string().nullable(),
});
export const policyCheckSchema = z
  .object({ problems: z.array(policyProblem), warnings: z.array(policyProblem), policies: z.array(z.string()) })
  .meta({ id: 'PolicyCheck' });
export type PolicyCheck = z.output<typeof policyCheckSchema>;

export const decisionParams = z.object({ decision: idSchema('decision') });
export const decisionOutcomes = ['allow', 'deny', 'ask'] as const;
export const decisionReasons = ['policy', 'no_policy', 'policy_error', 'grant', 'unknown', 'subject'] as const;
const decision = {
  id: idSchema('decision'),
  session: idSchema('session'),
  epoch: z.int(),
  action: z.string().meta({ description: '`tool.operation`.' }),
  outcome: z.enum(decisionOutcomes),
  reason: z.enum(decisionReasons).meta({
    description:
      '`grant`: the session was not granted it. `unknown`: there is no such operation. `subject`: whose session it is has been disabled.',
  }),
  policies: z.array(z.string()).meta({ description: 'Those that determined it.' }),
  policyVersion: z.string().nullable(),
  argumentsDigest: z
    .string()
    .nullable()
    .meta({ description: 'SHA-256 of the arguments in their canonical form (RFC 8785).' }),
  approval: idSchema('approval').nullable().meta({
    description:
      'With the outcome `ask`: the approval that it waited for, or was carried out by. There is none of that id where too many waited (`error`).',
  }),
  decidedAt: timeSchema,
  endedAt: timeSchema.nullable().meta({ description: 'When what was allowed had been done.' }),
  error: z.string().nullable().meta({ description: 'The code of the error that it ended with.' }),
  sentBytes: z
    .int()
    .nullable()
    .meta({ description: 'What a connection carried out of the session; null of anything else.' }),
  receivedBytes: z.int().nullable(),
};
export const decisionSchema = z.object(decision).meta({ id: 'Decision' });
export type DecisionResource = z.output<typeof decisionSchema>;
export const decisionPage = pageOf(decisionSchema).meta({ id: 'DecisionPage' });
export const listDecisionsQuery = z.strictObject({
  ...pageQuery,
  session: idSchema('session').exactOptional(),
  outcome: z.enum(decisionOutcomes).exactOptional(),
  since: timeSchema.exactOptional().meta({ description: 'Decided then or later.' }),
});
export const decisionReplaySchema = z
  .object({
    same: z.boolean().meta({ description: 'Outcome, reason and policies are those of the record.' }),
    outcome: z.enum(decisionOutcomes),
    policies: z.array(z.string()),
    context: z.record(z.string(), z.unknown()).meta({ description: 'The arguments that the policies saw.' }),
  })
  .meta({ id: 'DecisionReplay' });
export type DecisionReplay = z.output<typeof decisionReplaySchema>;

const resource = z.object({ type: z.string(), id: z.string() });
export const decisionExplanationSchema = z
  .object({
    decision: decisionSchema,
    policies: z
      .array(z.object({ id: z.string(), text: z.string() }))
      .meta({ description: 'Those that determined it, as they were then.' }),
    grant: z
      .array(z.string())
      .nullable()
      .meta({ description: 'What the session was granted; null where that was not written down.' }),
    asked: z
      .object({
        session: z.object({ facts: z.record(z.string(), z.unknown()), labels: labelsSchema, subject: z.string() }),
        resource: z.object({ ...resource.shape, within: z.array(resource) }),
        context: z.record(z.string(), z.unknown()),
      })
      .nullable()
      .meta({ description: 'What the policies saw; null where none was asked.' }),
  })
  .meta({ id: 'DecisionExplanation' });
export type DecisionExplanation = z.output<typeof decisionExplanationSchema>;

/** Which decisions are asked again, newest first. */
const recorded = {
  ...pageQuery,
  session: idSchema('session').exactOptional(),
  since: timeSchema.exactOptional().meta({ description: 'Decided then or later.' }),
};
export const diffPoliciesBody = z.strictObject({ policies: policyText, ...recorded }).meta({ id: 'DiffPolicies' });
export const replayDecisionsBody = z.strictObject(recorded).meta({ id: 'ReplayDecisions' });
const answered = z.object({
  outcome: z.enum(decisionOutcomes),
  reason: z.enum(decisionReasons),
  policies: z.array(z.string()),
});
export const decisionChangesPage = z
  .object({
    compared: z.int(),
    notAsked: z.int().meta({ description: 'No policy was asked about them, then as now.' }),
    unreadable: z.int().meta({ description: 'Their retention is over, or their operation is there no more.' }),
    items: z.array(
      z.object({
        decision: idSchema('decision'),
        session: idSchema('session'),
        action: z.string(),
        decidedAt: timeSchema,
        before: answered,
        after: answered,
      }),
    ),
    nextCursor: z.string().nullable(),
  })
  .meta({
    id: 'DecisionChangesPage',
    description: 'Recorded decisions that come out differently, and how many do not.',
  });
export type DecisionChangesPage = z.output<typeof decisionChangesPage>;

/** What a session may use at all. */
export const grantSchema = z
  .array(z.string().regex(/^[a-z][a-z0-9_]{0,62}\.(?:\*|[a-z][a-z0-9_]{0,62})$/))
  .max(limits.grantEntriesMaxCount)
  .meta({ description: '`tool.operation`, or `tool.*`. Policies decide about each call of these.' });
